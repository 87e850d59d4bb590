load helper

# A folder that looks like an installed toolkit which is not $BUILD/bin.
copy_toolkit() {
    mkdir -p "$1"
    find "$BUILD/bin" -maxdepth 1 -type f -exec cp -t "$1" {} +
}

@test "ev: without a command lists the event utilities, without itself" {
    run -0 --separate-stderr ev
    [ -z "$stderr" ]
    [ "$output" = "$(find "$BUILD/bin" -maxdepth 1 -type f ! -name ev -printf '%f\n' | LC_ALL=C sort)" ]
}

@test "ev: the command finds the event utilities before others of the same name" {
    mkdir others
    printf '#!/bin/sh\necho another\n' >others/replay
    chmod +x others/replay
    PATH=$BATS_TEST_TMPDIR/others:$PATH
    run -0 replay
    [ "$output" = another ]
    run -0 ev sh -c 'command -v replay'
    [ "$output" = "$BUILD/bin/replay" ]
}

@test "ev: PATH may be missing or empty" {
    run -0 env -u PATH "$BUILD/bin/ev" sh -c 'echo "$PATH"'
    [ "$output" = "$BUILD/bin:/bin:/usr/bin" ]
    run -0 env PATH= "$BUILD/bin/ev" sh -c 'echo "$PATH"'
    [ "$output" = "$BUILD/bin:/bin:/usr/bin" ]
}

@test "ev: works through a link, from another folder" {
    mkdir bin
    ln -s "$BUILD/bin/ev" bin/ev
    run -0 env PATH=/usr/bin:/bin bin/ev sh -c 'command -v publish'
    [ "$output" = "$BUILD/bin/publish" ]
}

@test "ev: links to the event utilities beside it are not the event utilities" {
    copy_toolkit libexec
    mkdir bin
    mv libexec/ev bin
    ln -s ../libexec/publish bin/publish
    run -69 --separate-stderr bin/ev true
    [[ $stderr = 'ev: '*'/eventutils: the event utilities are missing: install eventutils again' ]] ||
        skip 'eventutils is installed on this machine'
}

@test "ev: a script may begin with #!/usr/bin/env -S ev sh" {
    printf '%s\n' '#!/usr/bin/env -S ev sh' 'command -v consume; echo "$#: $1"' >script
    chmod +x script
    run -0 ./script 'an argument'
    [ "${lines[0]}" = "$BUILD/bin/consume" ]
    [ "${lines[1]}" = '1: an argument' ]
}

@test "ev: the command gets its own options, and -- ends those of ev" {
    run -0 ev echo -n --help
    [ "$output" = --help ]
    run -0 ev -- echo -- x
    [ "$output" = '-- x' ]
}

@test "ev: the command's status and the signal that ends it are passed on" {
    run -3 ev sh -c 'exit 3'
    run -137 ev sh -c 'kill -KILL $$'
}

@test "ev: the command is killed by a closed pipe as usual" {
    run -0 bash -c 'ev yes | head -n 1; echo "${PIPESTATUS[0]}"'
    [ "$output" = $'y\n141' ]
}

@test "ev: a missing command is 127, one that cannot be run 126" {
    run -127 --separate-stderr ev no-such-command
    [ "$stderr" = 'ev: cannot run "no-such-command": not found' ]
    echo 'not for running' >file
    run -126 --separate-stderr ev ./file
    [ "$stderr" = 'ev: cannot run "./file": Permission denied' ]
}

@test "ev: wrong usage is one line and 64" {
    run -64 --separate-stderr ev --no-such-option
    [ "$stderr" = 'ev: unknown option "--no-such-option" (see ev --help)' ]
    run -64 --separate-stderr ev -s spool.db
    [ "$stderr" = 'ev: unknown option "-s" (see ev --help)' ]
}

@test "ev: a full disk is reported when listing" {
    [ -w /dev/full ] || skip 'no /dev/full'
    run -74 --separate-stderr bash -c 'ev >/dev/full'
    [[ $stderr = 'ev: '*'No space left on device'* ]]
}
