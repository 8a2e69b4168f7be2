package integration_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// onlyNatively are the scripts, by suite, in which no control group decides anything. The emulated machine is there for the
// other cgroup version and takes ten times as long: in it they would prove once more what they proved natively, where they all
// run. Of each suite some stay; a script with a condition that the VM promises must.
func onlyNatively() map[string][]string {
	return map[string][]string{
		"badinput": {
			"a-bad-ID-or-one-in-use-is-refused",
			"a-config.json-that-cannot-be-read-names-the-place",
			"a-state-root-that-cannot-be-written-is-refused",
			"a-user-without-rights-is-told-so",
			"a-wrong-type-or-value-is-named-by-its-path",
			"an-unknown-ociVersion-is-refused",
		},
		"bundle": {
			"a-killed-build-leaves-nothing-after-the-next-command",
			"a-missing-companion-is-told",
			"a-registry-is-asked-once",
			"after-a-reboot-mount-brings-root-and-secrets-back",
			"bad-input-is-one-line-and-leaves-nothing",
			"every-source-becomes-a-bundle-that-runs",
			"in-a-user-namespace-there-is-an-overlay",
			"validate-and-diff-name-every-place",
		},
		"commands": {
			"completion-completes-in-a-real-bash",
			"config-names-another-file-of-the-bundle",
			"logs-go-where-and-as-they-are-told",
			"mounts-are-added-to-and-removed-from-a-running-container",
			"sockets-of-the-service-manager-pass-on",
			"the-service-manager-hears-that-the-program-is-ready",
		},
		"env": {
			"a-source-that-has-not-changed-is-not-read-again",
			"a-start-that-fails-says-who-at-what-and-leaves-nothing",
			"a-test-has-an-environment-to-itself",
			"bad-input-is-told-by-its-place-and-leaves-nothing",
			"one-name-is-one-environment",
			"people-see-it-on-a-terminal",
			"readiness-is-probed",
			"secrets-are-files-and-are-shown-nowhere",
			"services-can-be-chosen-and-multiplied",
			"the-end-of-one-can-be-the-end-of-all",
		},
		"image": {
			"an-interrupted-pull-goes-on",
			"pull-list-remove-and-prune",
		},
		"lifecycle": {
			"errors-go-to-the-log-in-the-form-that-containerd-reads",
			"list-shows-all-containers-in-three-forms",
			"what-the-state-does-not-allow-is-refused",
		},
		"report": {
			"a-place-that-cannot-be-written-to-fails-before-anything-starts",
			"it-goes-to-stdout-a-descriptor-or-a-file",
		},
		"run": {
			"a-container-without-a-name-gets-the-name-of-its-bundle",
			"a-program-that-is-missing-or-not-executable-gives-127-or-126",
			"a-reader-that-has-seen-enough-ends-the-program",
			"a-wrong-command-line-gives-2-and-runs-nothing",
			"input-that-nobody-reads-does-not-keep-a-run-from-ending",
			"no-pivot-no-new-keyring-and-no-subreaper-change-nothing-else",
			"pid-file-names-the-first-process-before-it-runs",
			"preserve-fds-passes-descriptors-on-and-nothing-else",
			"the-bundle-is-named-in-four-ways",
			"the-program-meets-stdin-stdout-and-stderr-byte-for-byte",
			"the-program-sees-the-environment-and-directory-of-the-bundle-only",
		},
		"signals": {
			"a-program-that-handles-SIGTERM-ends-by-its-own-code",
			"a-program-without-a-handler-ends-at-once",
			"a-signal-from-outside-is-told-as-signalled",
			"all-other-signals-are-passed-on",
		},
		"spec": {
			"a-failing-hook-of-create-or-start-fails-the-container",
			"a-failing-poststop-hook-is-a-warning-and-the-next-one-runs",
			"a-hook-that-outlives-its-timeout-is-killed-and-fails",
			"a-namespace-is-joined-by-path",
			"a-seccomp-agent-answers-for-the-kernel",
			"a-seccomp-profile-works-also-one-that-forbids-getcwd",
			"capabilities-are-those-of-the-spec",
			"host-and-domain-name-sysctls-and-time-offsets-are-the-containers-own",
			"labels-and-monitors-that-the-host-lacks-are-refused-by-name",
			"masked-and-read-only-paths-hold",
		},
		"terminal": {
			"it-is-restored-on-every-way-out",
			"keys-reach-the-program-as-they-are-typed",
			"without-a-terminal-here-the-program-has-one-all-the-same",
		},
	}
}

// isOnlyNative tells of a script by the directory that testscript gave it.
func isOnlyNative(work string) bool {
	suite, script := filepath.Base(filepath.Dir(work)), strings.TrimPrefix(filepath.Base(work), "script-")
	return slices.Contains(onlyNatively()[suite], script)
}

func TestOnlyNativelyNamesScriptsAndLeavesSomeOfEachSuite(t *testing.T) {
	for suite, scripts := range onlyNatively() {
		files, err := filepath.Glob(filepath.Join("testdata", suite, "*.txtar"))
		if err != nil {
			t.Fatal(err)
		}
		for _, script := range scripts {
			path := filepath.Join("testdata", suite, script+".txtar")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			if promised := onlyInVM.Find(text); promised != nil {
				t.Errorf("%s: may be skipped natively: %s", path, promised)
			}
			if !isOnlyNative(filepath.Join(t.TempDir(), suite, "script-"+script)) {
				t.Errorf("%s is not known by its directory", path)
			}
		}
		// Images have no part in a control group at all.
		if suite != "image" && len(scripts) >= len(files) {
			t.Errorf("nothing of %s runs in the VM", suite)
		}
	}
}

// onlyInVM matches a condition that the VM promises and a host need not have.
var onlyInVM = regexp.MustCompile(`(?m)^\[!(v2|io-disk|host-pids|criu|controller)[^]]*\] skip.*`)
