# shellcheck shell=bash
# What the suites share. A suite sources this file; `run` does not.

set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

# stamped DIR KEY: has DIR been installed from exactly this KEY? `stamp` says so once it is.
stamped() { [ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$2" ]; }
stamp() { printf '%s\n' "$2" >"$1/.stamp"; }

# --- Rust crates -----------------------------------------------------------------------------------------------------
# The published crates carry their tests. All of them are members of one workspace, so that what they depend on is
# compiled once. TLS is left out of all three: their TLS tests need certificates and are ignored anyway, and the
# cryptography is most of the build.

CRATES=(lapin@4.12.3 amqprs@2.1.5 bunny-rs@0.10.0)
CRATES_FEATURES=(--no-default-features --features lapin/default-runtime --features amqprs/compliance_assert)
CRATES_VERSION=1 # raise it when crates_install changes

crates_install() {
  local dir="$CACHE/crates" key
  key="$CRATES_VERSION ${CRATES[*]} ${CRATES_FEATURES[*]} $(rustc --version)"
  stamped "$dir" "$key" && return
  mkdir -p "$dir"
  rm -rf "$dir/probe" "$dir/workspace" "$dir/.stamp"
  cargo init --quiet --vcs none --name probe "$dir/probe"
  (
    cd "$dir/probe"
    cargo add --quiet "${CRATES[@]/@/@=}"
    cargo metadata --format-version 1
  ) >"$dir/metadata.json"
  python3 - "$dir" "${CRATES[@]}" <<'PY'
import json, os, re, shutil, sys
root, wanted = sys.argv[1], [crate.split("@")[0] for crate in sys.argv[2:]]
workspace = os.path.join(root, "workspace")
os.makedirs(workspace)
for package in json.load(open(os.path.join(root, "metadata.json")))["packages"]:
    if package["name"] not in wanted:
        continue
    target = os.path.join(workspace, package["name"])
    shutil.copytree(os.path.dirname(package["manifest_path"]), target)
    manifest = os.path.join(target, "Cargo.toml")
    text = open(manifest).read()
    # amqprs wants rustls for its TLS tests only.
    text = re.sub(r"^\[dev-dependencies\.rustls\]\n(?:[^\[\n].*\n|\n)*", "", text, flags=re.M)
    open(manifest, "w").write(text)
with open(os.path.join(workspace, "Cargo.toml"), "w") as file:
    file.write('[workspace]\nresolver = "2"\nmembers = %s\n' % json.dumps(sorted(wanted)))
    file.write('[profile.dev]\ndebug = 0\nincremental = false\n')
PY
  (
    cd "$dir/workspace"
    CARGO_TARGET_DIR="$dir/target" cargo test --quiet --no-run --workspace --lib --tests "${CRATES_FEATURES[@]}" \
      --message-format json
  ) >"$dir/build.json"
  stamp "$dir" "$key"
}

# crate_tests CRATE SECONDS [TARGET]: runs the crate's test programs one after the other, or TARGET's only. Those named
# in $BESIDE (they mostly wait) run beside the others.
crate_tests() {
  local crate="$1" seconds="$2" only="${3:-}" target program
  cd "$CACHE/crates/workspace/$crate"
  python3 - "$CACHE/crates/build.json" "$PWD/" "$only" "${BESIDE:-}" <<'PY' >"$OUT/programs"
import json, sys
build, folder, only, beside = sys.argv[1:]
rows = []
for line in open(build):
    message = json.loads(line)
    if message.get("executable") and message["manifest_path"].startswith(folder):
        target = message["target"]
        name = "lib" if "lib" in target["kind"] else target["name"]
        if only in ("", name):
            rows.append((name not in beside.split(), name, message["executable"]))
for row in sorted(rows):
    print(*row[1:])
PY
  while read -r target program; do
    if [[ " ${BESIDE:-} " == *" $target "* ]]; then
      libtest "$target" "$program" "$seconds" &
    else
      libtest "$target" "$program" "$seconds"
    fi
  done <"$OUT/programs"
  wait
}

# libtest TARGET PROGRAM SECONDS: one test program of Rust's own frame; its cases are added to $OUT/cases.
libtest() {
  CARGO_MANIFEST_DIR="$PWD" timeout -k 5 "$3" "$2" >"$OUT/$1.out" 2>&1 </dev/null || say "$1: exit code $?"
  cat "$OUT/$1.out"
  sed -nE "s/^test (.*[^ ]) +\.\.\. (ok|FAILED|ignored).*/\2 $1::\1/p" "$OUT/$1.out" |
    sed -E 's/ - should panic$//; s/^ok /PASS /; s/^FAILED /FAIL /; s/^ignored /SKIP /' >>"$OUT/cases"
}

# --- PyPI ------------------------------------------------------------------------------------------------------------
# The source archives carry the tests; the library under test is installed from the same archive.

# pypi_suite NAME VERSION PACKAGE...: $CACHE/NAME/source is the archive unpacked, $CACHE/NAME/venv has it and PACKAGE...
pypi_suite() {
  local name="$1" version="$2" dir="$CACHE/$1" key
  key="$* $(python3 --version)"
  shift 2
  stamped "$dir" "$key" && return
  rm -rf "$dir"
  mkdir -p "$dir/source"
  python3 -m venv "$dir/venv"
  "$dir/venv/bin/pip" download --quiet --no-deps --no-binary "$name" --dest "$dir" "$name==$version"
  tar xzf "$dir"/*.tar.gz --strip-components 1 -C "$dir/source"
  "$dir/venv/bin/pip" install --quiet "$dir/source" "$@"
  stamp "$dir" "$key"
}

# pytest_suite NAME ARGUMENT...: runs pytest in NAME's source. A case's name is FILE::CLASS::TEST[PARAMETERS].
pytest_suite() {
  local name="$1" code=0
  shift
  cd "$CACHE/$name/source"
  # -P: the installed package and not the folder beside the tests.
  RABBITMQ_HOST="$AMQP_HOST" RABBITMQ_5672_TCP="$AMQP_PORT" "$CACHE/$name/venv/bin/python" -P -m pytest \
    -p no:cacheprovider --timeout 60 --junit-xml "$OUT/junit.xml" "$@" >>"$OUT/log" 2>&1 || code=$?
  [ "$code" -le 1 ] || say "pytest: exit code $code"
  python3 - "$OUT/junit.xml" <<'PY' >"$OUT/cases"
import sys, xml.etree.ElementTree as tree
for case in tree.parse(sys.argv[1]).iter("testcase"):
    outcomes = {child.tag for child in case}
    state = "FAIL" if outcomes & {"failure", "error"} else "SKIP" if "skipped" in outcomes else "PASS"
    name = (case.get("classname") or "").split("integration.")[-1].replace(".", "::") + "::" + case.get("name")
    print(state, "_".join(name.split()).lstrip(":"))
PY
}
