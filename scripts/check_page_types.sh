#!/bin/sh
# Checks the types of the web page's JavaScript, which JSDoc comments declare, with the TypeScript compiler.
set -eu
cd "$(dirname "$0")/.."

TARGET=${CARGO_TARGET_DIR:-target}
packages=$(cd "$TARGET/test-node/node_modules" && pwd) || {
    echo "check_page_types: the Node packages of the tests are missing: run scripts/setup_tests.sh node" >&2
    exit 1
}
# The packages are outside the source, so the configuration names their place.
config="$TARGET/page-types.json"
cat >"$config" <<END
{
  "compilerOptions": {
    "allowJs": true, "checkJs": true, "noEmit": true, "strict": true, "noUnusedLocals": true, "noUnusedParameters": true,
    "target": "es2023", "module": "esnext", "moduleResolution": "bundler", "lib": ["es2023", "dom", "dom.iterable"], "types": [], "allowUmdGlobalAccess": true,
    "paths": {
      "preact": ["$packages/preact/src/index.d.ts"], "preact/hooks": ["$packages/preact/hooks/src/index.d.ts"],
      "htm": ["$packages/htm/dist/htm.d.ts"], "uplot": ["$packages/uplot/dist/uPlot.d.ts"]
    }
  },
  "include": ["$PWD/src/features/ui/assets/**/*.js", "$PWD/src/features/ui/assets/**/*.d.mts", "$packages/uplot/dist/uPlot.d.ts"],
  "exclude": ["$PWD/src/features/ui/assets/vendor/uplot.js"]
}
END
"$packages/.bin/tsc" --project "$config"
