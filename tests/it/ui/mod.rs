//! The web page at `/ui/`: its files, its live numbers, its views in a browser, also while a client writes, and several replicas.

mod browser;
mod files;
mod live;
mod moving;
mod replicas;
