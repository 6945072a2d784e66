#!/usr/bin/env bash
# Apptainer on Debian 12, which has none: the package of Debian's unstable suite, given the C library of that suite in a
# folder of its own, so that nothing else on the machine meets it. Root only. Does nothing where there is an apptainer.
#
#   tools/install_apptainer.sh        remove it again: apt-get purge apptainer
set -euo pipefail

readonly libraries=/usr/lib/apptainer-libc

if command -v apptainer >/dev/null; then
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# apt with lists of its own: the machine keeps its suite.
mkdir -p lists/partial cache/archives/partial
touch status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian unstable main" >sources.list
unstable() {
  apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::status="$work/status" \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
}
unstable update
unstable download apptainer libc6 libseccomp2 libsqlite3-0

export DEBIAN_FRONTEND=noninteractive
apt-get -qq install --yes --no-install-recommends patchelf >/dev/null
dpkg-deb --raw-extract apptainer_*.deb package
mkdir -p "package$libraries"
for archive in libc6_*.deb libseccomp2_*.deb libsqlite3-0_*.deb; do
  dpkg-deb --extract "$archive" extracted
done
cp --no-dereference extracted/usr/lib/*-linux-gnu/*.so* "package$libraries"
loader=$libraries/$(basename package"$libraries"/ld-linux-*.so.*)
for program in package/usr/bin/apptainer package/usr/lib/*-linux-gnu/apptainer/bin/starter; do
  patchelf --force-rpath --set-rpath "$libraries" --set-interpreter "$loader" "$program"
done
sed --in-place --regexp-extended 's/^(Depends:.*), libc6 .*/\1/; s/^(Version: .*)/\1+ownlibc/' package/DEBIAN/control
dpkg-deb -Znone --build package apptainer.deb >/dev/null
apt-get -qq install --yes --no-install-recommends ./apptainer.deb >/dev/null
apptainer --version
