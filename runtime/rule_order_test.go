//go:build seccomp

package runtime

import (
	"bytes"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
)

func TestOrderRulesKeepsTheRulesOfOneCallInOrder(t *testing.T) {
	errno := func(n uint) *uint { return &n }
	profile := &configs.Seccomp{Architectures: []string{"amd64"}, Syscalls: []*configs.Syscall{
		{Name: "read", Action: configs.Allow}, // 0 of amd64
		{Name: "socket", Action: configs.Errno, ErrnoRet: errno(1)},
		{Name: "no_such_call", Action: configs.Allow},
		{Name: "openat2", Action: configs.Allow}, // 437
		{Name: "socket", Action: configs.Errno, ErrnoRet: errno(2)},
	}}
	orderRules(profile)
	var got []string
	for _, rule := range profile.Syscalls {
		got = append(got, rule.Name)
	}
	if want := []string{"openat2", "socket", "socket", "read", "no_such_call"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if first, second := profile.Syscalls[1].ErrnoRet, profile.Syscalls[2].ErrnoRet; *first != 1 || *second != 2 {
		t.Errorf("the rules of socket became %d, %d", *first, *second)
	}
	orderRules(nil)
}

func TestOrderRulesDoesNotChangeTheFilter(t *testing.T) {
	engines, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	if err != nil {
		t.Fatal(err)
	}
	convert := func() *configs.Seccomp {
		profile, err := specconv.SetupSeccomp(engines)
		if err != nil {
			t.Fatal(err)
		}
		return profile
	}
	profile, ordered := convert(), convert()
	orderRules(ordered)
	if slices.EqualFunc(profile.Syscalls, ordered.Syscalls, func(a, b *configs.Syscall) bool { return a.Name == b.Name }) {
		t.Fatal("the order has not changed")
	}
	if !bytes.Equal(compile(t, profile), compile(t, ordered)) {
		t.Error("the filter is another")
	}
}

// compile does with a profile of Allow and Errno rules of one condition at most what libcontainer does.
func compile(t *testing.T, profile *configs.Seccomp) []byte {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	filter, err := libseccomp.NewFilter(libseccomp.ActErrno.SetReturnCode(1))
	must(err)
	defer filter.Release()
	for _, name := range profile.Architectures {
		arch, err := libseccomp.GetArchFromString(name)
		must(err)
		must(filter.AddArch(arch))
	}
	operators := map[configs.Operator]libseccomp.ScmpCompareOp{
		configs.EqualTo: libseccomp.CompareEqual, configs.LessThan: libseccomp.CompareLess,
		configs.NotEqualTo: libseccomp.CompareNotEqual, configs.MaskEqualTo: libseccomp.CompareMaskedEqual,
	}
	for _, rule := range profile.Syscalls {
		number, err := libseccomp.GetSyscallFromName(rule.Name)
		if err != nil {
			continue
		}
		action := libseccomp.ActAllow
		if rule.Action == configs.Errno {
			action = libseccomp.ActErrno.SetReturnCode(int16(*rule.ErrnoRet))
		}
		if len(rule.Args) == 0 {
			must(filter.AddRule(number, action))
			continue
		}
		argument := rule.Args[0]
		condition, err := libseccomp.MakeCondition(argument.Index, operators[argument.Op], argument.Value, argument.ValueTwo)
		must(err)
		must(filter.AddRuleConditional(number, action, []libseccomp.ScmpCondition{condition}))
	}
	reader, writer, err := os.Pipe()
	must(err)
	defer reader.Close()
	exported := make(chan error, 1)
	go func() { exported <- filter.ExportBPF(writer); writer.Close() }()
	program, err := io.ReadAll(reader)
	must(err)
	must(<-exported)
	return program
}
