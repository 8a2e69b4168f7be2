package environment

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "0", "shop", "my_shop-2", strings.Repeat("x", MaxName)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, says := range map[string]string{
		"": "it is empty", "-a": "begins with", "_a": "begins with", "A": "lower-case", "a b": "lower-case", "a/b": "lower-case", "..": "lower-case",
		"a\x00": "lower-case", "ü": "lower-case", strings.Repeat("x", MaxName+1): "longer than 63 characters",
	} {
		if err := CheckName(name); !errors.Is(err, ErrInvalidName) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", name, err, says)
		}
	}
}

func TestNameFrom(t *testing.T) {
	for text, want := range map[string]string{
		"shop": "shop", "My Shop": "myshop", "_-x": "x", "a.b_c-d": "ab_c-d", "": "", "---": "", "Größe": "gre", strings.Repeat("y", 100): strings.Repeat("y", MaxName),
	} {
		if got := NameFrom(text); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

func FuzzNameFrom(f *testing.F) {
	f.Add("My Shop")
	f.Fuzz(func(t *testing.T, text string) {
		name := NameFrom(text)
		if name != "" && CheckName(name) != nil {
			t.Errorf("%q gives %q", text, name)
		}
		if CheckName(text) == nil && name != text {
			t.Errorf("the name %q became %q", text, name)
		}
	})
}

func testRoots(t *testing.T) Roots {
	t.Helper()
	dir := t.TempDir()
	return Roots{State: filepath.Join(dir, "state"), Data: filepath.Join(dir, "data")}
}

func testRecord(roots Roots, name string) *Record {
	return &Record{
		Name: name, Roots: roots, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Dir: "/src", Files: []string{"/src/compose.yaml"},
		Ports: []OpenPort{{Service: "web", HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, Target: 80, Protocol: "tcp", Inode: 7}},
		Plan:  json.RawMessage(`{"version":1}`),
	}
}

func TestRecord(t *testing.T) {
	roots := testRoots(t)
	if _, err := roots.Load("shop"); !errors.Is(err, ErrNotFound) {
		t.Errorf("no record: %v", err)
	}
	if _, err := roots.Load("../shop"); !errors.Is(err, ErrInvalidName) {
		t.Errorf("no name: %v", err)
	}
	want := testRecord(roots, "shop")
	if err := want.Write(); err != nil {
		t.Fatal(err)
	}
	got, err := roots.Load("shop")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Load() = %+v, %v, want %+v", got, err, want)
	}
	path := want.Paths().Record
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("record: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text string
		is   error
		says string
	}{
		"newer":         {strings.Replace(string(text), `"version":1`, `"version":2`, 1), ErrNewer, "(version 2, this one knows 1)"},
		"empty":         {"", errDamaged, "damaged"},
		"half":          {string(text[:len(text)/2]), errDamaged, "damaged"},
		"no version":    {"{}", errDamaged, "version 0"},
		"another name":  {strings.Replace(string(text), `"shop"`, `"shop2"`, 1), errDamaged, `it is of "shop2"`},
		"a path":        {strings.Replace(string(text), `"shop"`, `"../x"`, 1), errDamaged, "invalid name"},
		"another state": {strings.Replace(string(text), roots.State, "/etc", 1), errDamaged, `"/etc"`},
		"another data":  {strings.Replace(string(text), roots.Data, "/etc", 1), ErrOtherDataRoot, "use that one, by --data-root /etc"},
		"another shape": {strings.Replace(string(text), `"/src"`, `7`, 1), errDamaged, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := roots.Load("shop"); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Load() = %v, %v, want %q", got, err, test.says)
			}
			// What cannot be understood is not removed: nobody knows what belongs to it.
			if err := roots.Remove(t.Context(), "shop", RemoveOptions{}); !errors.Is(err, test.is) {
				t.Errorf("Remove() = %v", err)
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		})
	}
}

func FuzzRecord(f *testing.F) {
	text, err := json.Marshal(testRecord(Roots{State: "/run/x", Data: "/var/x"}, "shop"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Replace(text, []byte(`"version":0`), []byte(`"version":1`), 1))
	f.Fuzz(func(t *testing.T, text []byte) {
		record, err := parseRecord(text)
		if err != nil {
			if !errors.Is(err, ErrNewer) && !errors.Is(err, errDamaged) {
				t.Errorf("error %v", err)
			}
			return
		}
		if CheckName(record.Name) != nil || record.Version < 1 || record.Version > recordVersion {
			t.Errorf("record %+v", record)
		}
	})
}

func TestHandover(t *testing.T) {
	want := &Handover{
		Plan:   &plan.Plan{Version: plan.Version, Name: "shop"},
		Roots:  Roots{State: "/run/x", Data: "/var/x"},
		Cgroup: "/sandboxrun-env-shop", Secrets: []SecretContent{{Name: "db", Content: []byte("\x00\xff")}},
		Descriptors: Descriptors{Lock: 4, Control: 5},
	}
	var pipe bytes.Buffer
	if err := WriteHandover(&pipe, want); err != nil {
		t.Fatal(err)
	}
	text := pipe.String()
	got, err := ReadHandover(&pipe)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ReadHandover() = %+v, %v", got, err)
	}
	if content, found := got.Secret("db"); !found || string(content) != "\x00\xff" {
		t.Errorf("Secret() = %q, %v", content, found)
	}
	if _, found := got.Secret("none"); found {
		t.Error("a secret that is not there was found")
	}
	for says, text := range map[string]string{
		"nothing was handed over":        "",
		"ended before it had said":       text[:len(text)-1],
		"different versions (2 and 1)":   strings.Replace(text, `"version":1`, `"version":2`, 1),
		"there is no plan":               `{"version":1}`,
		"cannot take over: cannot name ": strings.Replace(text, `"shop"`, `"../.."`, 1),
	} {
		if got, err := ReadHandover(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, %v", says, got, err)
		}
	}
	if err := WriteHandover(fullPipe{}, want); err == nil {
		t.Error("a handover that was not written is no error")
	}
}

type fullPipe struct{}

func (fullPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }

func FuzzHandover(f *testing.F) {
	f.Add([]byte(`{"version":1,"plan":{"name":"shop"},"descriptors":{"lock":4}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := ReadHandover(bytes.NewReader(text))
		if err == nil && (h.Plan == nil || CheckName(h.Plan.Name) != nil) {
			t.Errorf("handover %+v", h)
		}
	})
}

func TestServiceError(t *testing.T) {
	cause := errors.New("no such file")
	var err error = &ServiceError{Service: "web", Instance: "web-2", Stage: "start", Err: cause}
	if err.Error() != "service web-2: start: no such file" || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}
