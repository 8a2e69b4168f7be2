package integration_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sandboxrun/sandboxrun/bundles/samples"
	"github.com/sandboxrun/sandboxrun/test/built"
)

// suite is what all scripts of one test binary share. It is made by TestMain
// before any test and not changed afterwards.
type suite struct {
	dir       string // of everything below; removed at the end
	binary    string // the sandboxrun program
	bundles   string // prebuilt sample bundles
	path      string // a directory for PATH in which sandboxrun has its --root
	artefacts string // for what failed scripts leave
	nonce     string // begins every ID and name of this process
}

// shared is set once by TestMain.
var shared suite

func TestMain(m *testing.M) {
	testscript.Main(machineCheck{m}, map[string]func(){
		"in-cgroup2":       inCgroup2,
		"run-in-process":   runInProcess,
		"with-sockets":     withSockets,
		"with-outside":     withOutside,
		"lose-interface":   loseInterface,
		"notify-manager":   notifyManager,
		"image-registry":   serveRegistry,
		"make-image":       makeImage,
		"seccomp-listener": seccompListener,
	})
}

// machineCheck is a testing.M that prepares the suite and in the end compares
// the machine with what it was.
type machineCheck struct{ m *testing.M }

func (c machineCheck) Run() int {
	flag.Parse()
	if os.Geteuid() != 0 {
		return c.m.Run() // each test says why it is skipped
	}
	err := prepare(&shared)
	defer os.RemoveAll(shared.dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	before := takeSnapshot()
	code := c.m.Run()
	for _, rest := range before.newSince(takeSnapshot()) {
		fmt.Fprintln(os.Stderr, "integration: left after all tests:", rest)
		code = 1
	}
	return code
}

func prepare(s *suite) (err error) {
	s.nonce = fmt.Sprintf("it%x", os.Getpid())
	// Short, for the paths of sockets in it.
	if s.dir, err = os.MkdirTemp("", s.nonce+"-"); err != nil {
		return err
	}
	// A sandbox's user has to pass.
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	if s.artefacts, err = artefactsDir(); err != nil {
		return err
	}
	if s.binary, err = built.Program(s.dir, "images", "env"); err != nil {
		return err
	}
	if s.bundles, err = built.Bundles(s.dir, samples.Names()...); err != nil {
		return err
	}
	s.path = filepath.Join(s.dir, "path")
	if err := os.Mkdir(s.path, 0o755); err != nil {
		return err
	}
	wrapper := "#!/bin/sh\nexec '" + s.binary + "' --root \"$ROOT\" --data-root \"$WORK/.data\" \"$@\"\n"
	return os.WriteFile(filepath.Join(s.path, "sandboxrun"), []byte(wrapper), 0o755)
}

func artefactsDir() (string, error) {
	if dir := os.Getenv("SANDBOXRUN_ARTEFACTS"); dir != "" {
		return filepath.Abs(dir)
	}
	if inVM() {
		return "/out/integration-artefacts", nil
	}
	return filepath.Abs("../../bin/integration-artefacts")
}

func inVM() bool { return os.Getenv("SANDBOXRUN_IN_VM") == "1" }

// requireRoot skips a test that cannot work, and says why.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if inVM() {
		t.Fatal("not root in the VM")
	}
	t.Skip("needs root: sandboxes need namespaces and cgroups")
}

func TestRun(t *testing.T)       { runScripts(t, "run", together) }
func TestLifecycle(t *testing.T) { runScripts(t, "lifecycle", together) }
func TestTerminal(t *testing.T)  { runScripts(t, "terminal", together) }
func TestSignals(t *testing.T)   { runScripts(t, "signals", together) }
func TestReport(t *testing.T)    { runScripts(t, "report", together) }
func TestBadInput(t *testing.T)  { runScripts(t, "badinput", together) }
func TestCollect(t *testing.T)   { runScripts(t, "collect", together) }
func TestSpec(t *testing.T)      { runScripts(t, "spec", together) }

// TestLimits measures rates, which other work would spoil.
func TestLimits(t *testing.T) { runScripts(t, "limits", alone) }

// TestLoad measures growth.
func TestLoad(t *testing.T) { runScripts(t, "load", alone) }

// order says whether the scripts of a suite may run side by side.
type order bool

const (
	together order = true
	alone    order = false
)

func runScripts(t *testing.T, name string, o order) {
	requireRoot(t)
	if o == together {
		// Scripts mostly wait for a program in a sandbox.
		atLeastParallel(2 * runtime.NumCPU())
	}
	dir := filepath.Join(shared.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	testscript.RunT(scriptT{t, o}, testscript.Params{
		Dir:                 filepath.Join("testdata", name),
		WorkdirRoot:         dir,
		Setup:               setUpScript,
		Condition:           condition,
		Cmds:                commands(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

func atLeastParallel(n int) {
	if f := flag.Lookup("test.parallel"); f != nil {
		if have, err := strconv.Atoi(f.Value.String()); err == nil && have < n {
			f.Value.Set(strconv.Itoa(n)) //nolint:errcheck // a number is what it takes
		}
	}
}

// scriptT is a testscript.T that can keep scripts apart.
type scriptT struct {
	*testing.T
	order order
}

func (t scriptT) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(sub *testing.T) { f(scriptT{sub, t.order}) })
}

func (t scriptT) Parallel() {
	if t.order == together {
		t.T.Parallel()
	}
}

func (scriptT) Verbose() bool { return testing.Verbose() }
