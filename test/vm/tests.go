package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// testBinary is a Go test binary and where it runs.
type testBinary struct {
	file string // on the host
	pkg  string // its import path
	dir  string // its package's directory, relative to the repository
}

// readTestBinary finds out by its build information which package a test
// binary is of.
func readTestBinary(file string) (testBinary, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return testBinary{}, fmt.Errorf("cannot use %q: %w; make test binaries by go test -c", file, err)
	}
	// The test of a command has the command's own path.
	pkg := strings.TrimSuffix(info.Path, ".test")
	isTest := pkg != info.Path || strings.HasSuffix(file, ".test")
	dir, isOurs := strings.CutPrefix(pkg+"/", info.Main.Path+"/")
	if !isTest || !isOurs {
		return testBinary{}, fmt.Errorf("cannot use %q: %q is no test of module %q; make test binaries by go test -c", file, info.Path, info.Main.Path)
	}
	return testBinary{file: file, pkg: pkg, dir: path.Clean(dir)}, nil
}

// guestName is the binary's name in its directory in the guest.
func (t testBinary) guestName() string { return path.Base(t.pkg) + ".test" }

// stageTests puts the binaries below dir as they run in the guest, each in its
// package's directory with its testdata, if it has any below repo.
func stageTests(dir, repo string, tests []testBinary) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, test := range tests {
		if err := root.MkdirAll(test.dir, 0o755); err != nil {
			return err
		}
		if err := linkOrCopy(test.file, filepath.Join(dir, test.dir, test.guestName())); err != nil {
			return err
		}
		testdata := filepath.Join(repo, test.dir, "testdata")
		if _, err := os.Stat(testdata); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.CopyFS(filepath.Join(dir, test.dir, "testdata"), os.DirFS(testdata)); err != nil {
			return fmt.Errorf("copy testdata of %s: %w", test.pkg, err)
		}
	}
	return nil
}

// linkOrCopy gives a file a second name, or makes a copy on another file
// system.
func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// testScriptHead is the shell function that runs one binary. A line with the
// mark is for the harness: begin, or end with exit code and milliseconds.
const testScriptHead = `
run_test() { # NUMBER PACKAGE DIRECTORY BINARY ARG...
	group=$groups/test-$1 package=$2 directory=$3 binary=$4
	shift 4
	mkdir "$group"
	printf '%s begin %s\n' "$mark" "$package"
	began=$(date +%s%3N)
	# Mounts that a test leaves behind end with its mount namespace. Those that
	# systemd makes meanwhile, such as /run/user/UID, have to come in.
	unshare --mount --propagation slave sh -c '
		echo 0 >"$1/cgroup.procs"
		mount --make-rshared /
		cd "/work/test/$2" || exit 125
		shift 2
		exec "$@"' sh "$group" "$directory" \
		timeout -k 5 "$hard" "./$binary" -test.count=1 -test.timeout="${each}s" "$verbose" "$@" 2>&1
	code=$?
	[ "$code" -eq 0 ] || failed=1
	tries=0
	while grep -q 'populated 1' "$group/cgroup.events" && [ "$tries" -lt 20 ]; do
		tries=$((tries + 1))
		sleep 0.1
	done
	for pid in $(cat "$group/cgroup.procs"); do
		printf 'left behind by %s: process %s: %s\n' "$package" "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline")"
		code=1 failed=1
	done
	echo 1 >"$group/cgroup.kill"
	printf '%s end %s %d %d\n' "$mark" "$package" "$code" "$(($(date +%s%3N) - began))"
}
failed=0
# The parent of this script's own group.
read -r own </proc/self/cgroup
own=${own#0::}
groups=/sys/fs/cgroup${own%/*}
`

// testScript returns the shell script that runs tests one after the other. Its
// exit code is 1 if one of them failed. Each binary gets args.
func testScript(tests []testBinary, args []string, each time.Duration, verbose, mark string) string {
	var script strings.Builder
	seconds := max(1, int(each/time.Second))
	// The test's own deadline prints where every goroutine is; the hard one is
	// for a test that doesn't even get there.
	fmt.Fprintf(&script, "mark=%s each=%d hard=%d verbose=%s\n", quote(mark), seconds, seconds+15, quote(verbose))
	script.WriteString(testScriptHead)
	for i, test := range tests {
		words := append([]string{test.pkg, test.dir, test.guestName()}, args...)
		fmt.Fprintf(&script, "run_test %d %s\n", i, quoteAll(words))
	}
	script.WriteString("exit $failed\n")
	return script.String()
}

func testCommand(ctx context.Context, args []string) (_ int, retErr error) {
	var o options
	flags := o.flagSet("test", 30*time.Minute)
	each := flags.Duration("each", 5*time.Minute, "deadline of each binary")
	asJSON := flags.Bool("json", false, "print what go test -json prints")
	if err := parse(flags, args); err != nil {
		return 0, err
	}
	files, testArgs := splitArgs(flags.Args())
	tests, err := readTestBinaries(files)
	if err != nil {
		return 0, err
	}
	s, err := o.open(ctx)
	if err != nil {
		return 0, err
	}
	stage, err := s.cache.newScratch()
	if err != nil {
		return 0, err
	}
	defer func() { retErr = errors.Join(retErr, stage.remove()) }()
	repo, err := repositoryRoot()
	if err != nil {
		return 0, err
	}
	if err := stageTests(stage.dir, repo, tests); err != nil {
		return 0, fmt.Errorf("stage tests: %w", err)
	}

	verbose := "-test.v"
	output := newTestOutput(os.Stdout)
	if *asJSON {
		verbose = "-test.v=test2json"
		output.convert = true
	}
	s.testDir = stage.dir
	s.command.args = []string{"sh", "-c", testScript(tests, testArgs, *each, verbose, output.mark)}
	s.stdout = output
	code, err := s.run(ctx)
	return code, errors.Join(err, output.Close())
}

// splitArgs splits BINARY... -- ARG... in two.
func splitArgs(args []string) (files, testArgs []string) {
	if at := slices.Index(args, "--"); at >= 0 {
		return args[:at], args[at+1:]
	}
	return args, nil
}

func readTestBinaries(files []string) ([]testBinary, error) {
	if len(files) == 0 {
		fmt.Fprintln(os.Stderr, "vm: test needs binaries: go test -c -o DIR/ ./cgroup && go run ./test/vm test DIR/cgroup.test")
		return nil, errUsage
	}
	var tests []testBinary
	dirs := map[string]string{}
	for _, file := range files {
		test, err := readTestBinary(file)
		if err != nil {
			return nil, err
		}
		if other, taken := dirs[test.dir]; taken {
			return nil, fmt.Errorf("cannot run %q: %q is of the same package %s", file, other, test.pkg)
		}
		dirs[test.dir] = file
		tests = append(tests, test)
	}
	return tests, nil
}
