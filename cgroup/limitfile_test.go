package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var fullLimits = Limits{
	MemoryBytes: ptr[int64](64 << 20), MemorySwapBytes: ptr[int64](128 << 20), CPUs: ptr(0.5), Cpuset: "0-1", Pids: ptr[int64](64),
	IOMax: []IOMax{
		{Device: "/dev/vda", RBps: ptr[uint64](10 << 20), WIOps: ptr[uint64](100)},
		{Device: "8:0", WBps: ptr[uint64](1 << 20)},
	},
	WallTime: 30 * time.Second, CPUTime: 10 * time.Second,
}

func TestLoadLimits(t *testing.T) {
	for _, name := range []string{"full.yaml", "styles.yaml", "full.json"} {
		got, err := LoadLimits(filepath.Join("testdata/limits", name))
		if err != nil || !reflect.DeepEqual(got, fullLimits) {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, fullLimits)
		}
	}
	if _, err := LoadLimits("testdata/limits/absent.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	path := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(path, []byte(strings.Repeat("#\n", maxLimitFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadLimits(path)
	checkInvalid(t, err, "big", path)
}

func TestParseLimitsEmpty(t *testing.T) {
	for _, content := range []string{"", "\n", "# nothing\n", "---\n", "{}", " {\n}\n", `{"io_max": []}`} {
		got, err := ParseLimits([]byte(content))
		if err != nil || !reflect.DeepEqual(got, Limits{}) {
			t.Errorf("%q: %+v, %v", content, got, err)
		}
	}
}

func TestParseLimitsErrors(t *testing.T) {
	for content, want := range map[string]string{
		"memory: 64M\nmemroy: 1":                `line 2: no key "memroy"; known keys: memory, memory_swap`,
		"memory: 64M\n\n# x\nmemory: 1M":        `line 4: "memory" is given twice, first in line 1`,
		"cpus: many":                            `line 1: cpus: cannot read "many" as a number of CPUs`,
		"io_max: 8:0:rbps=1":                    "line 1: io_max takes a list",
		"memory: [1, 2]":                        "line 1: memory takes one value, not a list",
		"memory:\n  - 64M":                      "line 1: memory takes one value, not a list",
		"memory:":                               `line 1: "memory" has no value`,
		"memory:\npids: 1":                      `line 1: "memory" has no value`,
		"memory: ~":                             `line 1: "memory" has no value`,
		"memory: # 1M":                          `line 1: "memory" has no value`,
		"io_max: [~]":                           `line 1: "io_max" has no value`,
		"io_max:\n- bad":                        "line 1: io_max: cannot read",
		"io_max:\n- [8:0:rbps=1]":               `line 1: "io_max" has to be a text`,
		"limits:\n  memory: 1M":                 `line 1: "limits" has to be a text`,
		"a: &x 1M\nmemory: *x":                  `line 2: "memory" has to be a text`,
		"? [a]\n: 1":                            "line 1: a key that is no text",
		"- a":                                   "line 1: no `key: value`",
		"memory 1M":                             "line 1: no `key: value`",
		"memory: 1M\n---\npids: 1":              "a second document",
		"io_max: [a":                            "no YAML: ",
		"memory: \"1M":                          "no YAML: ",
		"memory: 1M: 2":                         "no YAML: ",
		"memory: \x07":                          "no YAML: ",
		"\xff":                                  "no YAML: ",
		`{"memory": "1M"`:                       "no YAML: ",
		"{\n \"memory\": \"1M\",\n \"mem\": 1}": `line 3: no key "mem"`,
		"{\"memory\": \"1M\",\n\"memory\": \"1M\"}": `line 2: "memory" is given twice`,
		`{"memory": true}`:                          `line 1: memory: cannot read "true"`,
		`{"memory": null}`:                          `line 1: "memory" has no value`,
		`{"memory": {"limit": 1}}`:                  `line 1: "memory" has to be a text`,
		`{"io_max": "8:0:rbps=1"}`:                  "line 1: io_max takes a list",
		`{"memory": "1M"} x`:                        "no YAML: ",
	} {
		_, err := ParseLimits([]byte(content))
		checkInvalid(t, err, content, want)
	}
}

// FuzzParseLimits checks that no input breaks the parser, and that every error is one line.
func FuzzParseLimits(f *testing.F) {
	for _, name := range []string{"full.yaml", "styles.yaml", "full.json"} {
		data, err := os.ReadFile(filepath.Join("testdata/limits", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("io_max: ['a''b', \"c\", d e] # x\nmemory: -1\n"))
	f.Add([]byte("a: &x [b]\nc: *x\n---\n? {d: e}\n: f\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		limits, err := ParseLimits(data)
		if err != nil && strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("error of several lines: %q", err)
		}
		if err != nil && !errors.Is(err, ErrInvalidLimit) {
			t.Errorf("error of another kind: %v", err)
		}
		if err == nil && limits.MemoryBytes != nil && *limits.MemoryBytes != Unlimited && *limits.MemoryBytes < 1 {
			t.Errorf("memory %d", *limits.MemoryBytes)
		}
	})
}

func FuzzParseIOMax(f *testing.F) {
	for _, value := range []string{"8:0:rbps=1M,wiops=100", "/dev/a:b:wbps=max,riops=1", "8:0:rbps=9999999.5p"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		io, err := ParseIOMax(value)
		if err != nil {
			return
		}
		if io.RBps == nil && io.WBps == nil && io.RIOps == nil && io.WIOps == nil {
			t.Errorf("%q limits nothing", value)
		}
		for _, rate := range []*uint64{io.RBps, io.WBps, io.RIOps, io.WIOps} {
			if rate != nil && (*rate == 0 || *rate > 1<<63-1) {
				t.Errorf("%q gives a rate of %d", value, *rate)
			}
		}
		if !strings.HasPrefix(value, io.Device+":") {
			t.Errorf("%q gives device %q", value, io.Device)
		}
	})
}
