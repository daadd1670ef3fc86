//! Trials of the protocol: several replicas with pauses, crashes, failing disks and late trades. The files and the reader are
//! the real ones; the disk forgets what was not synced, and Redis is a model of the scripts.

mod disk;
mod world;

use rustix::io::Errno;

use super::files::{FindingKind, PackOutcome};
use crate::tape::MINUTE;
use disk::Fault;
use world::{NOW, World, symbol};

/// Pseudo-random numbers: the same ones in every run.
pub struct Numbers(u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Rounds without faults, until nothing is left to do.
fn settle_down(world: &World) -> Result<(), String> {
    let (files, _) = world.open().map_err(|error| error.to_string())?;
    for _ in 0..4 {
        world.round(&files, true, &mut || {}).map_err(|stop| format!("a quiet round ends: {stop}"))?;
    }
    if let Some(violation) = world.violation(&files) {
        return Err(format!("after quiet rounds: {violation}"));
    }
    let redis = world.redis();
    if !redis.minutes.is_empty() || !redis.dirty.is_empty() {
        return Err(format!("quiet rounds leave {:?}", redis.minutes));
    }
    Ok(())
}

/// One history: replicas that are paused, crash, lose power, and trades at any time. Returns the first violation.
fn history(seed: u64, is_wrong: bool) -> Result<(), String> {
    let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let world = World::new(is_wrong);
    let minutes = [NOW, NOW + MINUTE];
    let mut number = 0;
    for _ in 0..3 + numbers.below(5) {
        if numbers.below(8) == 0 {
            world.redis().lose_state();
        }
        for _ in 0..numbers.below(3) {
            number += 1;
            world.fold(minutes[usize::try_from(numbers.below(2)).expect("small")], number);
        }
        let Ok((files, disk)) = world.open() else { return Err("the directory cannot be opened".to_owned()) };
        let (other, inner) = (world.clone(), numbers.below(u64::MAX >> 34));
        // While this replica is paused, another one works, and trades come in.
        let hook = Box::new(move || meanwhile(&other, inner));
        let fault = match numbers.below(6) {
            0 => Fault::PowerCut,
            1 => Fault::Crash,
            2 => Fault::Error(Errno::IO),
            _ => Fault::Pause,
        };
        disk.plan(usize::try_from(numbers.below(40)).expect("small") + 1, fault, Some(hook));
        let (pause, mut step) = (numbers.below(12), 0);
        let (beside, seed) = (world.clone(), numbers.below(1 << 20));
        let leaves = numbers.below(2) == 0;
        // A failure ends the round; the next one goes on.
        let _ = world.round(&files, leaves, &mut || {
            step += 1;
            if step == pause {
                meanwhile(&beside, seed);
            }
        });
        if disk.revive() == Some(Fault::PowerCut) {
            world.disk.cut_power(&mut numbers);
        }
        let Ok((files, _)) = world.open() else { return Err("the directory cannot be opened again".to_owned()) };
        if let Some(violation) = world.violation(&files) {
            return Err(violation);
        }
    }
    settle_down(&world)
}

fn meanwhile(world: &World, seed: u64) {
    let mut numbers = Numbers(seed | 1);
    for _ in 0..numbers.below(3) {
        world.fold(NOW + i64::try_from(numbers.below(2)).expect("small") * MINUTE, 1_000 + numbers.below(1_000));
    }
    if let Ok((files, _)) = world.open() {
        let _ = world.round(&files, numbers.below(2) == 0, &mut || {});
    }
}

fn run_histories(count: u64) {
    for seed in 0..count {
        if let Err(violation) = history(seed, false) {
            panic!("history {seed}: {violation}");
        }
    }
}

#[test]
fn readers_see_every_trade_once_whatever_crashes() {
    run_histories(400);
}

#[test]
#[ignore = "takes minutes; the shorter one above runs always"]
fn readers_see_every_trade_once_in_200_000_histories() {
    run_histories(200_000);
}

#[test]
fn a_line_that_a_failed_sync_has_lost_takes_no_other_with_it() {
    let world = World::default();
    let (files, disk) = world.open().expect("a directory");
    world.fold(NOW, 1);
    let failed = |at: usize| {
        disk.plan(at, Fault::Error(Errno::IO), None);
        let is_failed = world.round(&files, false, &mut || {}).is_err();
        disk.revive();
        is_failed
    };
    // The first line is written, and its sync fails; the second one is synced before the power fails.
    let manifest = "GRID/2026-01-01/manifest_20260101.ndjson".to_owned();
    let is_written = || world.disk.paths().contains(&manifest) && world.disk.length(&manifest) > 0;
    assert!((1..60).any(|at| failed(at) && is_written()));
    world.fold(NOW, 2);
    world.round(&files, true, &mut || {}).expect("no fault");
    assert!(world.redis().minutes.is_empty());
    for seed in 0..20 {
        world.disk.cut_power(&mut Numbers(seed));
        let (files, _) = world.open().expect("a directory");
        assert_eq!(world.violation(&files), None);
    }
}

#[test]
fn the_trials_find_increments_to_the_newest_version() {
    assert!((0..400).any(|seed| history(seed, true).is_err()), "a wrong protocol passes");
}

/// The life of a minute: written, corrected, removed, corrected again, removed again.
fn life(world: &World, round: &mut dyn FnMut(bool)) {
    for (trades, leaves) in [(3, false), (1, false), (0, true), (2, false), (1, true), (0, true)] {
        for number in 0..trades {
            world.fold(NOW, number);
        }
        round(leaves);
    }
}

#[test]
fn every_call_of_the_disk_may_fail_in_every_way() {
    let calls = {
        let world = World::default();
        let (files, disk) = world.open().expect("a directory");
        let before = disk.calls();
        life(&world, &mut |leaves| world.round(&files, leaves, &mut || {}).expect("no fault"));
        disk.calls() - before
    };
    assert!(calls > 50, "{calls}");
    let faults = [
        Fault::Error(Errno::NOSPC),
        Fault::Error(Errno::ACCESS),
        Fault::Error(Errno::IO),
        Fault::Short,
        Fault::Crash,
        Fault::Pause,
        Fault::PowerCut,
        Fault::PowerCut,
        Fault::PowerCut,
    ];
    for at in 1..=calls {
        for (way, fault) in faults.into_iter().enumerate() {
            let world = World::default();
            let mut numbers = Numbers(u64::try_from(at * 16 + way).expect("small"));
            let (mut files, mut disk) = world.open().expect("a directory");
            let other = world.clone();
            // The other replica does everything while this one is paused.
            let hook = Box::new(move || {
                other.fold(NOW, 7);
                let (files, _) = other.open().expect("a directory");
                other.round(&files, true, &mut || {}).expect("no fault");
            });
            disk.plan(at, fault, Some(hook));
            life(&world, &mut |leaves| {
                let _ = world.round(&files, leaves, &mut || {});
                let happened = disk.revive();
                if happened == Some(Fault::PowerCut) {
                    world.disk.cut_power(&mut numbers);
                }
                if matches!(happened, Some(Fault::PowerCut | Fault::Crash)) {
                    (files, disk) = world.open().expect("a directory");
                }
                let (reader, _) = world.open().expect("a directory");
                assert_eq!(world.violation(&reader), None, "{fault:?} at {at}");
            });
            settle_down(&world).unwrap_or_else(|violation| panic!("{fault:?} at {at}: {violation}"));
            // What is left is whole, named, or reported.
            let (files, _) = world.open().expect("a directory");
            let findings = files.verify(&symbol(), super::files::calendar::day_of(NOW)).expect("the files");
            let is_harmless = |kind| matches!(kind, FindingKind::Torn | FindingKind::Extra);
            assert!(findings.iter().all(|finding| is_harmless(finding.kind)), "{fault:?} at {at}: {findings:?}");
        }
    }
}

#[test]
fn packing_may_fail_at_every_call() {
    let later = NOW + 20 * 1_440 * MINUTE;
    let day = super::files::calendar::day_of(NOW);
    let filled = |is_encrypted: bool| {
        let world = if is_encrypted { World::encrypted() } else { World::default() };
        let (files, disk) = world.open().expect("a directory");
        for number in 0..4 {
            world.fold(NOW + i64::try_from(number % 2).expect("small") * MINUTE, number);
            world.round(&files, true, &mut || {}).expect("no fault");
        }
        (world, files, disk)
    };
    let calls = {
        let (_, files, disk) = filled(false);
        let before = disk.calls();
        let packed = files.pack(&symbol(), day, later, false).expect("no fault");
        assert!(matches!(packed, PackOutcome::Packed { minutes: 4, .. }), "{packed:?}");
        disk.calls() - before
    };
    for at in 1..=calls {
        for (way, fault) in [
            Fault::Error(Errno::NOSPC),
            Fault::Error(Errno::IO),
            Fault::Short,
            Fault::Crash,
            Fault::PowerCut,
            Fault::PowerCut,
        ]
        .into_iter()
        .enumerate()
        {
            let (world, files, disk) = filled(at % 2 == 0);
            disk.plan(at, fault, None);
            let _ = files.pack(&symbol(), day, later, false);
            if disk.revive() == Some(Fault::PowerCut) {
                world.disk.cut_power(&mut Numbers(u64::try_from(at * 8 + way).expect("small")));
            }
            let (files, _) = world.open().expect("a directory");
            assert_eq!(world.violation(&files), None, "{fault:?} at {at}");
            // Late trades beside the pack, then everything in one pack.
            world.fold(NOW, 5);
            world.round(&files, true, &mut || {}).expect("no fault");
            world.round(&files, true, &mut || {}).expect("no fault");
            for _ in 0..3 {
                files.pack(&symbol(), day, later, false).expect("no fault");
                assert_eq!(world.violation(&files), None, "{fault:?} at {at}, packed again");
            }
            let loose = world.disk.paths().into_iter().filter(|path| path.contains(".json")).count();
            let temporary = world.disk.paths().into_iter().filter(|path| path.starts_with(".tmp/")).count();
            assert!(loose == 0 && temporary <= 1, "{fault:?} at {at}: {:?}", world.disk.paths());
        }
    }
}

#[test]
fn a_changed_byte_is_found_and_named() {
    let day = super::files::calendar::day_of(NOW);
    for (is_packed, is_encrypted) in [(false, false), (true, false), (false, true), (true, true)] {
        let world = if is_encrypted { World::encrypted() } else { World::default() };
        let (files, _) = world.open().expect("a directory");
        world.fold(NOW, 1);
        world.round(&files, true, &mut || {}).expect("no fault");
        if is_packed {
            files.pack(&symbol(), day, NOW + 20 * 1_440 * MINUTE, false).expect("no fault");
        }
        assert_eq!(files.verify(&symbol(), day).expect("the files"), []);
        for path in world.disk.paths().into_iter().filter(|path| path.contains("_2026")) {
            for at in 0..world.disk.length(&path) {
                world.disk.flip(&path, at);
                let findings = files.verify(&symbol(), day).expect("the files");
                let name = path.rsplit('/').next().expect("a name");
                let is_named = findings.iter().any(|finding| finding.file.ends_with(name));
                assert!(is_named, "byte {at} of {path}: {findings:?}");
                // Never a wrong number: what counted, or nothing.
                if !path.contains("manifest") {
                    let seen = world.read(&files, &mut || {}).expect("the directory");
                    let truth = world.redis().truth.clone();
                    assert!(seen.iter().all(|(minute, found)| found.is_none() || found.as_ref() == truth.get(minute)));
                }
                world.disk.flip(&path, at);
            }
        }
    }
}

#[test]
fn a_directory_in_the_place_of_another_one_is_not_used() {
    let world = World::default();
    let (files, disk) = world.open().expect("a directory");
    world.fold(NOW, 1);
    world.disk.flip(".gtx-archive", 0);
    assert!(world.round(&files, true, &mut || {}).is_err());
    assert_eq!(world.redis().minutes.len(), 1, "nothing leaves Redis");
    assert!(disk.calls() > 0);
}

#[test]
fn redis_that_lost_its_data_counts_on_from_the_files() {
    let world = World::default();
    let (files, _) = world.open().expect("a directory");
    world.fold(NOW, 1);
    world.round(&files, false, &mut || {}).expect("no fault");
    {
        let mut redis = world.redis();
        redis.minutes.clear();
        redis.archived.clear();
        redis.new_generation();
    }
    assert_eq!(world.violation(&files), None, "the file has the trade");
    world.fold(NOW, 2);
    assert_eq!(world.violation(&files), None, "both have a part");
    settle_down(&world).expect("one version with both");
    // Redis has lost a part only: the file has more, and counts.
    world.fold(NOW + MINUTE, 3);
    let before = world.redis().minutes.clone();
    world.fold(NOW + MINUTE, 4);
    world.round(&files, false, &mut || {}).expect("no fault");
    world.redis().minutes = before;
    settle_down(&world).expect("the file stays");
}
