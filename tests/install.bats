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
    for program in "$BUILD"/bin/*; do
        name=${program##*/}
        cmp "$program" "$bin/$name" || [ "$name" = ev ]
        [ "$name" = ev ] || [ -x "$own/$name" ]
    done
    [ -f "$bin/ev" ] && [ ! -L "$bin/ev" ] && [ ! -e "$own/ev" ]
    [ "$(readlink "$bin/publish")" = ../libexec/eventutils/publish ]
    [ -f "$root$prefix/share/man/man1/ev.1" ]
    [ "$(ls)" = $'others\nroot' ]
}

@test "install: ev finds the folder that it was installed with" {
    prefix=$BATS_TEST_TMPDIR/prefix
    mkdir build
    cp "$BUILD/libeventutils.a" build
    make -s -C "$TOP" -o "$PWD/build/libeventutils.a" BUILD="$PWD/build" SAN="$SAN" STATIC="$STATIC" \
        PREFIX="$prefix" "$PWD/build/bin/ev"
    cp "$BUILD"/bin/[!e]* build/bin
    installer install BUILD="$PWD/build" DESTDIR=
    mv "$prefix/bin/ev" elsewhere
    run -0 ./elsewhere sh -c 'command -v publish'
    [ "$output" = "$prefix/libexec/eventutils/publish" ]
}

@test "install: a name that somebody else has is left out, and said" {
    foreign replay
    run -0 installer install
    [ "$output" = "left out: $prefix/bin/replay, because there is $PWD/others/replay: use ev replay" ]
    [ ! -e "$bin/replay" ]
    [ -x "$own/replay" ]
    [ -L "$bin/publish" ]
}

@test "install: a program in bindir that is not ours stays as it is" {
    mkdir -p "$bin"
    echo mine >"$bin/replay"
    run -0 installer install
    [ "$output" = "left out: $prefix/bin/replay, because there is $prefix/bin/replay: use ev replay" ]
    [ "$(cat "$bin/replay")" = mine ]
    run -0 installer uninstall
    [ "$(cat "$bin/replay")" = mine ]
}

@test "install: a second time is like the first" {
    installer install
    PATH=$bin:$PATH
    run -0 installer install
    [ -z "$output" ]
    [ -L "$bin/replay" ]
}

@test "install: PROGRAM_PREFIX is for the links, and gets round other programs" {
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
    touch "$bin/other" "$root$prefix/share/man/man1/other.1"
    ln -s other "$bin/dlq"
    installer install
    run -0 installer uninstall
    [ -z "$output" ]
    run -0 find "$root" ! -type d
    [ "$(sort <<<"$output")" = "$(printf '%s\n' "$bin/dlq" "$bin/other" \
        "$root$prefix/share/man/man1/other.1" | sort)" ]
}

@test "install: links below DESTDIR work where they are" {
    installer install
    run -0 "$bin/publish" --version
    [[ $output = 'publish (eventutils) '* ]]
}
