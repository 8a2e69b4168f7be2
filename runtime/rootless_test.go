package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRootlessIsWhatItIsToldToBe(t *testing.T) {
	for value, want := range map[Rootless]bool{RootlessYes: true, RootlessNo: false, RootlessAuto: detectRootless(false)} {
		r, err := New(Config{Root: t.TempDir(), Rootless: value})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.RootlessCgroups(); got != want {
			t.Errorf("RootlessCgroups() of %d = %v, want %v", value, got, want)
		}
	}
}

func TestExplainUserNamespaceNamesTheKnob(t *testing.T) {
	const (
		unshare = "runc init error(s): nsexec-1[7]: failed to unshare user namespace: No space left on device"
		mount   = `error mounting "proc" to rootfs at "/proc": mount proc:/proc: Permission denied`
		maximum = "user/max_user_namespaces"
		clone   = "kernel/unprivileged_userns_clone"
		armor   = "kernel/apparmor_restrict_unprivileged_userns"
	)
	for _, tt := range []struct {
		name    string
		sysctls map[string]string
		err     error
		want    string // "" if the error stays as it is
	}{
		{"none left", map[string]string{maximum: "0\n"}, errors.New(unshare), "user.max_user_namespaces is 0 on this host"},
		{"Debian's", map[string]string{maximum: "9\n", clone: "0\n"}, errors.New(unshare), "kernel.unprivileged_userns_clone is 0 on this host"},
		{"Ubuntu's", map[string]string{maximum: "9\n", clone: "1\n", armor: "1\n"}, errors.New(mount), "kernel.apparmor_restrict_unprivileged_userns is 1 on this host"},
		{"Ubuntu's, and another failure", map[string]string{armor: "1\n"}, errors.New("no space left on device"), ""},
		{"Ubuntu's, and the program's own mode", map[string]string{armor: "1\n"}, &StartError{Program: "p", Reason: "permission denied"}, ""},
		{"Ubuntu's switched off", map[string]string{armor: "0\n"}, errors.New(mount), ""},
		{"none that is known", map[string]string{maximum: "9\n"}, errors.New(unshare), "this host allows no further user namespace"},
		{"no sysctls", nil, errors.New(mount), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, value := range tt.sysctls {
				path := filepath.Join(dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(value), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			got := explainUserNamespace(tt.err, dir)
			if !errors.Is(got, tt.err) {
				t.Errorf("%v is not in the chain of %v", tt.err, got)
			}
			if tt.want == "" && got != tt.err || !strings.Contains(got.Error(), tt.want) { //nolint:errorlint // the very same
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
		})
	}
}

func TestStateRootOfOthersIsToldAsSuch(t *testing.T) {
	r, err := New(Config{Root: "/run/sandboxrun-test"})
	if err != nil {
		t.Fatal(err)
	}
	denied := &fs.PathError{Op: "open", Path: "/run/sandboxrun-test/containers", Err: fs.ErrPermission}
	if got := r.explainRoot(fmt.Errorf("x: %w", denied)); !errors.Is(got, fs.ErrPermission) || !strings.Contains(got.Error(), "; give a writable directory with --root") {
		t.Errorf("got %v", got)
	}
	for _, other := range []error{
		&fs.PathError{Op: "open", Path: "/elsewhere", Err: fs.ErrPermission},
		&fs.PathError{Op: "open", Path: denied.Path, Err: fs.ErrNotExist},
		fs.ErrPermission,
	} {
		if got := r.explainRoot(other); got != other { //nolint:errorlint // the very same
			t.Errorf("explainRoot(%v) = %v", other, got)
		}
	}
}
