package equivalence_test

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/bundles"
)

// prelude are the functions of scripts.
//
//go:embed testdata/prelude.sh
var prelude string

// probe prints all that a program can see of its surroundings.
//
//go:embed testdata/probe.sh
var probe string

// scriptTimeout is many times what the slowest script takes on a busy machine.
const scriptTimeout = 60 * time.Second

// pollInterval is for what the kernel gives no event of.
const pollInterval = 5 * time.Millisecond

// side is one of the two runtimes.
type side struct {
	name, program string
	// patience is how long what has ended may take to be gone.
	patience time.Duration
}

// trial is one case on one side.
type trial struct {
	side  side
	id    string
	dir   string // of the script, with bundle/ in it
	state string // the runtime's state root
}

// newTrial makes directory and bundle. Both sides get names of the same length.
func newTrial(t *testing.T, s side, number int, c *testCase) *trial {
	t.Helper()
	id := fmt.Sprintf("sandboxrun-%s-%d%c", shared.nonce, number, s.name[0])
	dir := filepath.Join(shared.dir, fmt.Sprintf("%d%c", number, s.name[0]))
	tr := &trial{side: s, id: id, dir: dir, state: filepath.Join(dir, "state")}
	for _, each := range []string{dir, filepath.Join(dir, "bundle")} {
		if err := os.Mkdir(each, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyTemplate(filepath.Join(dir, "bundle", "rootfs")); err != nil {
		t.Fatal(err)
	}
	spec, err := tr.spec(c)
	if err != nil {
		t.Fatal(err)
	}
	data, err := bundles.Encode(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bundle", "config.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return tr
}

// spec is the configuration that cases change: runc's own default, without a
// terminal, running the probe.
func (tr *trial) spec(c *testCase) (*specs.Spec, error) {
	spec, err := bundles.Default(bundles.WithArgs("/bin/probe"), bundles.WithTerminal(false), bundles.WithHostname("box"))
	if err != nil {
		return nil, err
	}
	spec.Linux.Seccomp = nil
	spec.Linux.CgroupsPath = "/" + tr.id
	if c.edit != nil {
		c.edit(spec, tr)
	}
	return spec, nil
}

// run carries out the script and returns what it printed. What it started in
// the background may outlive it: output goes to a file that no one waits for.
func (tr *trial) run(t *testing.T, script string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), scriptTimeout)
	defer cancel()
	out, err := os.OpenFile(filepath.Join(tr.dir, ".stdout"), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	diagnostics, err := os.OpenFile(filepath.Join(tr.dir, ".stderr"), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer diagnostics.Close()

	command := exec.CommandContext(ctx, "/bin/sh", "-c", prelude+script)
	command.Dir = tr.dir
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=/root",
		"TMPDIR=" + tr.dir,
		"ID=" + tr.id,
		"DIR=" + tr.dir,
		"RUNTIME=" + tr.side.program,
		"STATE=" + tr.state,
		"BUSYBOX=" + shared.busybox,
	}
	command.Stdout, command.Stderr = out, diagnostics
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	err = command.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil {
		t.Errorf("%s: the script did not end in %s", tr.side.name, scriptTimeout)
	} else if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return readFile(t, out.Name()), readFile(t, diagnostics.Name())
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// end removes the containers of the trial by the runtime's own means and fails
// the test if anything is left then.
func (tr *trial) end(t *testing.T) {
	t.Helper()
	for _, id := range tr.containers(t) {
		if text, err := exec.Command(tr.side.program, "--root", tr.state, "delete", "-f", id).CombinedOutput(); err != nil {
			tr.complain(t, "%s delete -f %s: %v: %s", tr.side.name, id, err, bytes.TrimSpace(text))
		}
	}
	var found []string
	for deadline := time.Now().Add(tr.side.patience); ; {
		if found = tr.leftovers(); len(found) == 0 || time.Now().After(deadline) {
			break
		}
		<-time.After(pollInterval)
	}
	for _, each := range found {
		tr.complain(t, "%s left %s", tr.side.name, each)
	}
	if len(found) > 0 {
		tr.sweep()
		if rest := tr.leftovers(); len(rest) > 0 {
			t.Errorf("%s left what cannot be removed: %q", tr.side.name, rest)
		}
	}
	if err := os.RemoveAll(tr.dir); err != nil {
		t.Error(err)
	}
}

// complain notes what runc could not remove, which is no failure of ours, and
// fails the test for what sandboxrun could not. Both is swept up.
func (tr *trial) complain(t *testing.T, format string, args ...any) {
	t.Helper()
	if tr.side.name == "runc" {
		t.Logf(format, args...)
		return
	}
	t.Errorf(format, args...)
}

func (tr *trial) containers(t *testing.T) []string {
	t.Helper()
	if _, err := os.Stat(tr.state); err != nil {
		return nil
	}
	output, err := exec.Command(tr.side.program, "--root", tr.state, "list", "-q").Output()
	if err != nil {
		t.Logf("%s list: %v", tr.side.name, err)
	}
	return strings.Fields(string(output))
}

// makeTemplate makes the root filesystem that each trial gets a copy of.
func (s *suite) makeTemplate() error {
	root := filepath.Join(s.dir, "template")
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "tmp", "mnt", "home", "data/sub"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	files := map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home:/bin/sh\n",
		"etc/group":  "root:x:0:\nada:x:1000:\nstaff:x:50:ada\n",
		"data/file":  "data\n",
		"etc/plain":  "no program\n",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	programs := map[string]string{"bin/probe": probe, "bin/orphan": "#!/no/such/interpreter\n"}
	for name, content := range programs {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o755); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{s.busybox: "bin/busybox", s.workload: "bin/workload"} {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, to), data, 0o755); err != nil {
			return err
		}
	}
	output, err := exec.Command(s.busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the programs of %s: %w", s.busybox, err)
	}
	for name := range strings.FieldsSeq(string(output)) {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// copyTemplate shares what nothing writes to: the programs.
func copyTemplate(to string) error {
	from := filepath.Join(shared.dir, "template")
	if text, err := exec.Command("cp", "-a", "--link", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy root filesystem: %w: %s", err, text)
	}
	return nil
}
