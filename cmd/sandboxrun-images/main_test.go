package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

func TestFlagsMayFollowArguments(t *testing.T) {
	tests := []struct{ in, want string }{
		{"x bundle build SRC -o DIR", "x bundle build -o DIR SRC"},
		{"x --root R bundle build SRC -o DIR --set a=b -q", "x --root R bundle build -o DIR --set a=b -q SRC"},
		{"x bundle build -o=DIR SRC --format json", "x bundle build -o=DIR --format json SRC"},
		{"x bundle rm A B", "x bundle rm A B"},
		{"x image ls -q", "x image ls -q"},
		{"x bundle rm A -- -b", "x bundle rm -- A -b"},
		{"x bundle rm -- -b --root c", "x bundle rm -- -b --root c"},
		{"x bundle", "x bundle"},
		{"x bundle nonsense -o x", "x bundle nonsense -o x"},
		{"x nonsense -o x", "x nonsense -o x"},
		{"x --data-root", "x --data-root"},
		{"x bundle build - -o DIR", "x bundle build -o DIR -"},
	}
	for _, tt := range tests {
		inv := &invocation{}
		if got := strings.Join(commandline.FlagsFirst(inv.app(), strings.Fields(tt.in)), " "); got != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestWrongCommandLinesGive2(t *testing.T) {
	for _, line := range []string{
		"bundle nonsense", "image nonsense", "bundle build", "bundle build -o", "bundle build --nope", "bundle inspect", "bundle diff a",
		"bundle build x -o y --pull sometimes", "image ls x", "image ls --format yaml", "image pull", "image load --name n a b", "--log-level x image ls", "nonsense",
		"image pull --mirror x y",
	} {
		var out, errs bytes.Buffer
		args := append([]string{"sandboxrun", "--data-root", t.TempDir() + "/d"}, strings.Fields(line)...)
		if code := run(t.Context(), args, stdio{strings.NewReader(""), &out, &errs}); code != commandline.ExitUsage || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q gives %d and says %q", line, code, errs.String())
		}
	}
}

func TestProgressWithoutATerminalIsALineForEachLayer(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, false)
	for _, s := range steps() {
		p.step(s)
	}
	p.end()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "layer 000000000000: trying again: reset") || !strings.HasPrefix(lines[1], "layer 000000000000: 2KiB in ") {
		t.Errorf("got %q", lines)
	}
	if !p.changed() {
		t.Error("nothing seems to have changed")
	}
}

func TestProgressOnATerminalIsABarForEachLayer(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, false)
	p.width = 60
	for _, s := range steps() {
		p.step(s)
		p.last = time.Time{}
	}
	p.end()
	for _, want := range []string{"\x1b[1A\r\x1b[K", "000000000000 fetch   [", "#", " 1KiB/2KiB", "000000000000 done", "111111111111 exists"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
	for line := range strings.SplitSeq(strings.NewReplacer("\r\x1b[K", "", "\x1b[1A", "", "\x1b[2A", "", "\x1b[3A", "").Replace(out.String()), "\n") {
		if len(line) >= 60 {
			t.Errorf("%q is wider than the terminal", line)
		}
	}
}

func TestProgressThatIsQuietSaysNothing(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, true)
	for _, s := range steps() {
		p.step(s)
	}
	p.end()
	if out.Len() > 0 {
		t.Errorf("got %q", out.String())
	}
}

func steps() []image.Progress {
	first, second := manifest.FromSum(make([]byte, 32)), manifest.FromSum(bytes.Repeat([]byte{0x11}, 32))
	return []image.Progress{
		{Digest: first, Stage: "fetch", Total: 2048},
		{Digest: first, Stage: "fetch", Done: 1024, Total: 2048},
		{Digest: first, Stage: "retry", Done: 1024, Total: 2048, Err: errors.New("reset")},
		{Digest: first, Stage: "fetch", Done: 1024, Total: 2048},
		{Digest: second, Stage: "exists", Total: 10},
		{Digest: manifest.FromSum(bytes.Repeat([]byte{0x22}, 32)), Stage: "done", Done: 10, Total: 10},
		{Digest: first, Stage: "unpack", Done: 2048, Total: 2048},
		{Digest: first, Stage: "done", Done: 2048, Total: 2048},
	}
}

func TestSpecProblemsAreTakenApart(t *testing.T) {
	_, err := bundles.Decode([]byte(`{"process":{"args":1,"cwd":2}}`))
	got := specProblems(err)
	if len(got) != 2 || got[0].Path != "process.args" || got[1].Path != "process.cwd" {
		t.Errorf("got %+v from %v", got, err)
	}
	if got := specProblems(errors.New("x")); len(got) != 1 || got[0] != (problem{"", "x"}) {
		t.Errorf("got %+v", got)
	}
}

func TestBringTellsOfEachSource(t *testing.T) {
	program := filepath.Join(t.TempDir(), "true")
	build := exec.Command("go", "build", "-o", program, "../../bundles/samples/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	list := fmt.Sprintf(`[{"source": "binary:%s", "pull": "missing"}, {"source": "dir:/no/such", "pull": "missing"}, {"source": "docker://x:1", "pull": "never"}]`, program)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"sandboxrun", "--data-root", t.TempDir() + "/d", "image", "bring"}, stdio{strings.NewReader(list), &out, &errs})
	var got []brought
	if err := json.Unmarshal(out.Bytes(), &got); code != 0 || err != nil || len(got) != 3 {
		t.Fatalf("it gives %d, %v: %q %q", code, err, out.String(), errs.String())
	}
	if got[0].Error != "" || got[0].Reference != "binary:"+program || !strings.HasPrefix(string(got[0].Digest), "sha256:") || got[0].DockerDefaults {
		t.Errorf("the program gives %+v", got[0])
	}
	for i, want := range map[int]string{1: "no such file or directory", 2: "let it be pulled"} {
		if !strings.Contains(got[i].Error, want) || got[i].Digest != "" {
			t.Errorf("source %d gives %+v, want %q", i, got[i], want)
		}
	}
}
