package shop_test

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/test/built"
	"github.com/sandboxrun/sandboxrun/test/environments"
	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// composeFile is taken along to machines that have no source tree.
//
//go:embed compose.yaml
var composeFile []byte

// What TestShop tells the tests that run against the environment.
const (
	insideVariable = "SHOP_TEST_INSIDE" // set to 1
	rootVariable   = "SHOP_TEST_ROOT"   // the state root
)

// services is the directory with the trees of nginx, postgresql and redis: the
// one that SHOP_SERVICES names, where they must be, or make's own.
func services(t *testing.T) string {
	t.Helper()
	dir, promised := os.LookupEnv("SHOP_SERVICES")
	if !promised {
		dir = "../../.cache/services"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nginx", "postgresql", "redis"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil && promised {
			t.Fatal(err)
		} else if err != nil {
			t.Skipf("needs the trees of `make samples-services`: %v", err)
		}
	}
	return dir
}

// api is the shop's own program: the one that SHOP_API names, or built now.
func api(t *testing.T) string {
	t.Helper()
	if path, made := os.LookupEnv("SHOP_API"); made {
		return path
	}
	path := filepath.Join(t.TempDir(), "api")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-o", path, ".")
	cmd.Dir = "api"
	// Those of the tests' own build are for another module.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the API: %v\n%s", err, out)
	}
	return path
}

// exitReport is what is looked at of a container's exit report (docs/report.md).
type exitReport struct {
	Reason string `json:"reason"`
	Limits struct {
		MemoryBytes int64   `json:"memory_bytes"`
		CPUs        float64 `json:"cpus"`
		Pids        int64   `json:"pids"`
	} `json:"limits"`
	CPU struct {
		ThrottledPeriods uint64 `json:"throttled_periods"`
	} `json:"cpu"`
	Memory struct {
		PeakBytes uint64 `json:"peak_bytes"`
	} `json:"memory"`
	OOM struct {
		Kills uint64 `json:"kills"`
	} `json:"oom"`
}

// testReport is what is looked at of `env test --report`.
type testReport struct {
	Environment string `json:"environment"`
	Timeline    []struct {
		Service      string       `json:"service"`
		ReadySeconds *float64     `json:"ready_seconds"`
		ExitCode     *int         `json:"exit_code"`
		Restarts     int          `json:"restarts"`
		Reports      []exitReport `json:"reports"`
	} `json:"timeline"`
}

func TestShop(t *testing.T) {
	environments.RequireRoot(t)
	bin, trees := built.MadeProgram(t), services(t)
	dir := t.TempDir()
	roots, reportFile := environment.Roots{State: filepath.Join(dir, "root"), Data: filepath.Join(dir, "data")}, filepath.Join(dir, "report.json")
	password := strings.ToLower(rand.Text())
	passwordFile := filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	compose := filepath.Join(dir, "compose.yaml")
	if err := os.WriteFile(compose, composeFile, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	interfaces, err := leftovers.Interfaces()
	if err != nil {
		t.Fatal(err)
	}

	cmd := environments.Command(t.Context(), bin, roots, "test", "--file", compose, "--report", reportFile,
		"--wait-timeout", "5m", "--timeout", "5m", "--", self, "-test.run", "^TestInside$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1", rootVariable+"="+roots.State,
		"SANDBOXRUN_BIN="+bin, "SHOP_API="+api(t), "SHOP_SERVICES="+trees, "SHOP_PASSWORD_FILE="+passwordFile)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	began := time.Now()
	err = cmd.Run()
	t.Logf("env test took %v", time.Since(began).Round(time.Millisecond))
	if err != nil {
		t.Fatalf("env test: %v\n%s", err, &output)
	}
	for _, name := range []string{"TestInside/orders", "TestInside/limits/memory"} {
		if !strings.Contains(output.String(), "--- PASS: "+name+" ") {
			t.Errorf("%s did not run:\n%s", name, &output)
		}
	}

	report, text := readReport(t, reportFile)
	for where, shown := range map[string]string{"the output of env test": output.String(), "the report": text} {
		if strings.Contains(shown, password) {
			t.Errorf("%s tells the database's password", where)
		}
	}
	if !strings.Contains(output.String(), "connecting with password=") {
		t.Error("the API's line with the password is not in the output at all")
	}
	checkReport(t, report)
	for _, what := range slices.Concat(environments.Trace{Roots: roots, Name: report.Environment}.Left(), environments.InRoots(roots)) {
		t.Errorf("left: %s", what)
	}
	if after, err := leftovers.Interfaces(); err != nil || !slices.Equal(after, interfaces) {
		t.Errorf("the host's interfaces were %v and are %v, %v", interfaces, after, err)
	}
}

func readReport(t *testing.T, path string) (report testReport, text string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &report); err != nil {
		t.Fatalf("%v in the report:\n%s", err, raw)
	}
	return report, string(raw)
}

// checkReport looks at each service's limits, and at how they ended.
func checkReport(t *testing.T, report testReport) {
	t.Helper()
	type limits struct {
		memory   int64
		cpus     float64
		pids     int64
		restarts int
	}
	const mib = 1 << 20
	want := map[string]limits{
		"gateway": {64 * mib, 0.5, 16, 0},
		"api":     {96 * mib, 0.5, 64, 1}, // after the memory that it wasted
		"migrate": {64 * mib, 0.5, 32, 0},
		"db":      {256 * mib, 1, 64, 0},
		"cache":   {64 * mib, 0.5, 32, 0},
	}
	for _, i := range report.Timeline {
		expected, known := want[i.Service]
		delete(want, i.Service)
		if !known || len(i.Reports) != expected.restarts+1 {
			t.Errorf("service %q has %d exit reports", i.Service, len(i.Reports))
			continue
		}
		if i.ExitCode == nil || *i.ExitCode != 0 {
			t.Errorf("service %s ended with %v", i.Service, i.ExitCode)
		}
		if i.ReadySeconds == nil {
			t.Errorf("service %s was never ready", i.Service)
		}
		for _, r := range i.Reports {
			if got := (limits{r.Limits.MemoryBytes, r.Limits.CPUs, r.Limits.Pids, i.Restarts}); got != expected {
				t.Errorf("service %s had %+v, want %+v", i.Service, got, expected)
			}
			// The kernel lets some pages through that it cannot refuse.
			if r.Memory.PeakBytes == 0 || r.Memory.PeakBytes > uint64(expected.memory+mib) {
				t.Errorf("service %s used %d bytes at most, with a limit of %d", i.Service, r.Memory.PeakBytes, expected.memory)
			}
		}
		if i.Service == "api" {
			if first := i.Reports[0]; first.OOM.Kills == 0 || first.CPU.ThrottledPeriods == 0 {
				t.Errorf("the API wasted memory and CPU, and its report tells of %d OOM kills and %d throttled periods", first.OOM.Kills, first.CPU.ThrottledPeriods)
			}
		}
	}
	for service := range want {
		t.Errorf("service %s is not in the report", service)
	}
}
