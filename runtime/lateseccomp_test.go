package runtime

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestWhichProfilesAreLoadedLate(t *testing.T) {
	rule := func(action configs.Action, names ...string) []*configs.Syscall {
		var rules []*configs.Syscall
		for _, name := range names {
			rules = append(rules, &configs.Syscall{Name: name, Action: action})
		}
		return rules
	}
	profile := func(action configs.Action, rules ...[]*configs.Syscall) *configs.Seccomp {
		p := &configs.Seccomp{DefaultAction: action}
		for _, r := range rules {
			p.Syscalls = append(p.Syscalls, r...)
		}
		return p
	}
	conditional := func(action configs.Action, name string) []*configs.Syscall {
		return []*configs.Syscall{{Name: name, Action: action, Args: []*configs.Arg{{Index: 0, Value: 1, Op: configs.EqualTo}}}}
	}
	tests := []struct {
		name       string
		profile    *configs.Seccomp
		privileges bool // noNewPrivileges
		late       bool
	}{
		{name: "none"},
		{name: "one that allows all", profile: profile(configs.Allow)},
		{name: "one that forbids what nobody needs", profile: profile(configs.Allow, rule(configs.Errno, "keyctl"))},
		{name: "getcwd fails", profile: profile(configs.Allow, rule(configs.Errno, "getcwd")), late: true},
		{name: "getcwd kills", profile: profile(configs.Allow, rule(configs.KillProcess, "getcwd")), late: true},
		{name: "getcwd is logged", profile: profile(configs.Allow, rule(configs.Log, "getcwd"))},
		{name: "setuid fails for one user", profile: profile(configs.Allow, conditional(configs.Errno, "setuid")), late: true},
		{name: "with noNewPrivileges libcontainer is late itself", profile: profile(configs.Allow, rule(configs.Errno, "getcwd")), privileges: true},
		{name: "a list of what is allowed", profile: profile(configs.Errno, rule(configs.Allow, lateCalls...)), late: true},
		{name: "a list with all that is needed", profile: profile(configs.Errno, rule(configs.Allow, lateCalls...), rule(configs.Allow, earlyCalls...))},
		{name: "a list that allows one only sometimes", profile: profile(configs.Errno, rule(configs.Allow, lateCalls...), rule(configs.Allow, earlyCalls[1:]...), conditional(configs.Allow, earlyCalls[0])), late: true},
		{name: "not even the drop of capabilities", profile: profile(configs.Allow, rule(configs.Errno, "getcwd", "capset"))},
		{name: "an agent is asked", profile: profile(configs.Allow, rule(configs.Errno, "getcwd"), rule(configs.Notify, "mkdir"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := &configs.Config{Seccomp: tt.profile, NoNewPrivileges: tt.privileges}
			got := takeLateSeccomp(config)
			want, left := (*configs.Seccomp)(nil), tt.profile
			if tt.late {
				want, left = tt.profile, nil
			}
			if got != want || config.Seccomp != left {
				t.Errorf("taken %v, left %v; want %v, %v", got, config.Seccomp, want, left)
			}
		})
	}
}

// The profile that engines use is the ordinary case, with capabilities and without.
func TestDefaultProfileIsNotLoadedLate(t *testing.T) {
	for _, capabilities := range []*specs.LinuxCapabilities{{}, {Bounding: []string{"CAP_SYS_ADMIN", "CAP_NET_RAW"}}} {
		spec := &specs.Spec{Process: &specs.Process{Capabilities: capabilities}, Linux: &specs.Linux{}}
		profile, err := seccomp.GetDefaultProfile(spec)
		if err != nil {
			t.Fatal(err)
		}
		converted, err := specconv.SetupSeccomp(profile)
		if err != nil {
			t.Fatal(err)
		}
		if takeLateSeccomp(&configs.Config{Seccomp: converted}) != nil {
			t.Error("the default profile would be loaded late")
		}
	}
}

func TestLateSeccompConfirmsOnlyWhatInitSays(t *testing.T) {
	tests := []struct {
		name, answer, want string
	}{
		{"loaded", "ok", ""},
		{"silent", "", "init did not come to it"},
		{"failed", "no memory", "no memory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			file, err := sealedFile("test", []byte("content"))
			if err != nil {
				t.Fatal(err)
			}
			late := &lateSeccomp{file, writer, reader}
			if _, err := writer.WriteString(tt.answer); err != nil {
				t.Fatal(err)
			}
			err = late.confirm()
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("confirm() = %v, want %q", err, tt.want)
			}
			if late.file != nil || late.writer != nil || late.reader != nil {
				t.Errorf("left open: %+v", late)
			}
			if err := late.close(); err != nil {
				t.Error(err)
			}
		})
	}
	var none *lateSeccomp
	if err := none.confirm(); err != nil {
		t.Errorf("confirm() of an ordinary process = %v", err)
	}
	if err := none.explain(os.ErrInvalid); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("explain() of an ordinary process = %v", err)
	}
}

func TestSealedFileCannotBeChanged(t *testing.T) {
	file, err := sealedFile("test", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("x"), 0); err == nil {
		t.Error("it can be written to")
	}
	if err := file.Truncate(1); err == nil {
		t.Error("it can be cut")
	}
}

func TestLateSeccompIsFoundAgain(t *testing.T) {
	r := &Runtime{cfg: Config{Root: t.TempDir()}}
	if err := os.MkdirAll(r.stateDir("c"), 0o700); err != nil {
		t.Fatal(err)
	}
	errno := uint(95)
	want := &configs.Seccomp{DefaultAction: configs.Errno, DefaultErrnoRet: &errno, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}, Syscalls: []*configs.Syscall{
		{Name: "getcwd", Action: configs.Allow, Args: []*configs.Arg{{Index: 1, Value: 1 << 63, ValueTwo: 2, Op: configs.MaskEqualTo}}},
	}}
	if err := r.saveLateSeccomp("c", want); err != nil {
		t.Fatal(err)
	}
	got, err := r.readLateSeccomp("c")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got, err := r.readLateSeccomp("other"); got != nil || err != nil {
		t.Errorf("of a container without: %v, %v", got, err)
	}
	if err := os.WriteFile(r.lateSeccompPath("c"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := r.readLateSeccomp("c"); err == nil {
		t.Errorf("a damaged one is read as %v", got)
	}
}
