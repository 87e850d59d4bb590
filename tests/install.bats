load helper

setup() {
    helper_setup
    prefix=/opt/eventutils
    root=$BATS_TEST_TMPDIR/root
    bin=$root$prefix/bin
    own=$root$prefix/libexec/eventutils
    mkdir others
    PATH=$BATS_TEST_TMPDIR/others:$PATH
}

# All is built, and other tests are using it: make is told to leave it alone.
installer() { # TARGET [VARIABLE=VALUE]...
    make -s --no-print-directory -C "$TOP" -o all BUILD="$BUILD" DESTDIR="$root" PREFIX="$prefix" "$@"
}

foreign() { # NAME: a program that somebody else has
    printf '#!/bin/sh\n' >"others/$1"
    chmod +x "others/$1"
}

@test "install: executables, links, ev and the manual, all below DESTDIR" {
    run -0 installer install
    [ -z "$output" ]
    if [ -d "$BUILD/bin/postgresql" ]; then
        diff -r "$BUILD/bin/postgresql" "$own/postgresql"
    fi
    for program in "$BUILD"/bin/*; do
        [ -f "$program" ] || continue
        name=${program##*/}
        cmp "$program" "$bin/$name" || [ "$name" = ev ]
        [ "$name" = ev ] || [ -x "$own/$name" ]
    done
    [ -f "$bin/ev" ] && [ ! -L "$bin/ev" ] && [ ! -e "$own/ev" ]
    [ "$(readlink "$bin/publish")" = ../libexec/eventutils/publish ]
    [ -f "$root$prefix/share/man/man1/ev.1" ]
    [ "$(ls)" = $'others\nroot' ]
    # Units start what was installed.
    run -0 sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$root$prefix"/share/eventutils/examples/systemd/*.service
    [ "$(sort -u <<<"$output")" = "$prefix/bin/ev" ]
    # Pages name the examples where they are now.
    cat "$root$prefix"/share/man/man*/*.[1-9] | grep -o "[a-z/]*/examples/[a-z.-]*[a-z]" | sort -u >named
    [ "$(wc -l <named)" -ge 4 ]
    while read -r example; do
        [ -e "$root$example" ] || { echo "no $example"; false; }
    done <named
}

@test "install: ev finds the folder that it was installed with" {
    prefix=$BATS_TEST_TMPDIR/prefix
    mkdir build
    cp "$BUILD/libeventutils.a" build
    make -s -C "$TOP" -o "$PWD/build/libeventutils.a" BUILD="$PWD/build" SAN="$SAN" STATIC="$STATIC" \
        PREFIX="$prefix" "$PWD/build/bin/ev"
    cp -R "$BUILD"/bin/[!e]* build/bin
    installer install BUILD="$PWD/build" DESTDIR=
    mv "$prefix/bin/ev" elsewhere
    run -0 ./elsewhere sh -c 'command -v publish'
    [ "$output" = "$prefix/libexec/eventutils/publish" ]
}

@test "install: a name that is taken is left out, with a note" {
    foreign replay
    run -0 installer install
    [ "$output" = "left out: $prefix/bin/replay, because there is $PWD/others/replay: use ev replay, man eventutils-replay" ]
    [ ! -e "$bin/replay" ]
    [ -x "$own/replay" ]
    [ -L "$bin/publish" ]
    # Its page and completions stay those of the other one.
    man=$root$prefix/share/man/man1
    [ ! -e "$man/replay.1" ] && [ -f "$man/eventutils-replay.1" ] && [ "$(readlink "$man/publish.1")" = eventutils-publish.1 ]
    run ! grep -qw replay "$root$prefix/share/zsh/site-functions/_eventutils"
    [ -z "$(find "$root$prefix/share" -name 'replay*')" ]
}

@test "install: a program in bindir that is not ours stays as it is" {
    mkdir -p "$bin"
    echo mine >"$bin/replay"
    run -0 installer install
    [ "$output" = "left out: $prefix/bin/replay, because there is $prefix/bin/replay: use ev replay, man eventutils-replay" ]
    [ "$(cat "$bin/replay")" = mine ]
    run -0 installer uninstall
    [ "$(cat "$bin/replay")" = mine ]
}

@test "install: a second install is like the first, also when a name has been taken in between" {
    installer install
    foreign replay
    PATH=$bin:$PATH
    run -0 installer install
    [ -z "$output" ]
    [ -L "$bin/replay" ]
}

@test "install: PROGRAM_PREFIX applies to the links, and avoids clashes with other programs" {
    foreign replay
    run -0 installer install PROGRAM_PREFIX=eu-
    [ -z "$output" ]
    [ "$(readlink "$bin/eu-replay")" = ../libexec/eventutils/replay ]
    [ ! -e "$bin/replay" ]
    [ -x "$bin/ev" ]
    run -0 installer uninstall PROGRAM_PREFIX=eu-
    [ -z "$(find "$root" ! -type d)" ]
}

@test "uninstall: removes what install made and nothing else" {
    mkdir -p "$bin" "$root$prefix/share/man/man1"
    touch "$bin/other" "$root$prefix/share/man/man1/other.1" "$root$prefix/share/man/man1/trace.1"
    ln -s other "$bin/dlq"
    installer install
    [ ! -s "$root$prefix/share/man/man1/trace.1" ]
    run -0 installer uninstall
    [ -z "$output" ]
    run -0 find "$root" ! -type d
    [ "$(sort <<<"$output")" = "$(printf '%s\n' "$bin/dlq" "$bin/other" \
        "$root$prefix/share/man/man1/other.1" "$root$prefix/share/man/man1/trace.1" | sort)" ]
}

@test "install: links below DESTDIR work where they are" {
    installer install
    run -0 "$bin/publish" --version
    [[ $output = 'publish (eventutils) '* ]]
}

@test "make: without the libraries one sentence names what is missing, and nothing is built" {
    printf '#!/bin/sh\nexit 1\n' >others/pkg-config
    chmod +x others/pkg-config
    run -2 --separate-stderr make -C "$TOP" --no-print-directory BUILD="$PWD/build"
    [ -z "$output" ]
    [[ $stderr == 'Makefile:'*': *** eventutils needs a C compiler, pkg-config and the libraries jansson and sqlite3 (3.37 or newer): "make setup" installs them.  Stop.' ]]
    [ -z "$(find build -name '*.o')" ]
}
