package field_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/bundles/field"
)

func TestSetChangesFieldsOfEveryType(t *testing.T) {
	tests := []struct{ before, assignment, after string }{
		{`{"process":{}}`, "process.cwd=/x", `{"process":{"cwd":"/x"}}`},
		{`{}`, "process.cwd=a=b", `{"process":{"cwd":"a=b"}}`},
		{`{}`, "hostname=5", `{"hostname":"5"}`},
		{`{"process":{"cwd":"/x"}}`, "process.cwd=", `{"process":{"cwd":""}}`},
		{`{}`, "linux.resources.pids.limit=5", `{"linux":{"resources":{"pids":{"limit":5}}}}`},
		{`{"linux":{"resources":{"pids":{"limit":5}}}}`, "linux.resources.pids=", `{"linux":{"resources":{}}}`},
		{`{}`, "process.terminal=true", `{"process":{"terminal":true}}`},
		{`{}`, `process.args=["a","b c"]`, `{"process":{"args":["a","b c"]}}`},
		{`{"process":{"args":["a"]}}`, "process.args[0]=x", `{"process":{"args":["x"]}}`},
		{`{"process":{"args":["a"]}}`, "process.args[1]=x", `{"process":{"args":["a","x"]}}`},
		{`{}`, `annotations["a.b"]=c`, `{"annotations":{"a.b":"c"}}`},
		{`{"annotations":{"x":"y"}}`, `annotations.a=b`, `{"annotations":{"a":"b","x":"y"}}`},
		{`{}`, `linux.sysctl["net.ipv4.ip_forward"]=1`, `{"linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}}`},
		{`{}`, `mounts[0]={"destination":"/x","type":"tmpfs"}`, `{"mounts":[{"destination":"/x","type":"tmpfs"}]}`},
		{`{"mounts":[{"destination":"/x"}]}`, `mounts[0].options[0]=ro`, `{"mounts":[{"destination":"/x","options":["ro"]}]}`},
	}
	for _, tt := range tests {
		var spec, want specs.Spec
		decode(t, tt.before, &spec)
		decode(t, tt.after, &want)
		if err := field.Set(&spec, tt.assignment); err != nil {
			t.Errorf("%s: %v", tt.assignment, err)
			continue
		}
		if !reflect.DeepEqual(encode(t, spec), encode(t, want)) {
			t.Errorf("%s on %s gives %s", tt.assignment, tt.before, encode(t, spec))
		}
	}
}

func TestSetNamesWhatIsWrong(t *testing.T) {
	for assignment, want := range map[string]string{
		"process.cdw=/x":                     `process has no member "cdw"; there are`,
		"procedure=1":                        `config.json has no member "procedure"`,
		"linux.resources.pids.limit=x":       `linux.resources.pids.limit takes a whole number, not "x"`,
		"process.user.uid=-1":                "process.user.uid takes a whole number that is not negative",
		"process.terminal=yes":               "process.terminal takes true or false",
		"process.args=a":                     "process.args takes a JSON list",
		`mounts[0]={"dest":"/x"}`:            "mounts[0] takes a JSON object",
		"process.args[1]=x":                  "process.args has 0 items; the next index is 0",
		"process.args.x=y":                   "process.args is a list; write an index: process.args[0]",
		"process[0]=y":                       "process is an object, not a list",
		"annotations[0]=y":                   `annotations is a mapping; write a name: annotations["name"]`,
		"process.cwd.x=y":                    "process.cwd is one value and has no .x",
		"process.cwd":                        "there is no value; write PATH=VALUE",
		"":                                   "it is no path",
		"=x":                                 "it is no path",
		".a=x":                               "it is no path",
		"a..b=x":                             "it is no path",
		"process.args[x]=1":                  "it is no path",
		"process.args[99999999999999999]=1":  "it is no path",
		`annotations["a=1`:                   "it is no path",
		"linux.resources.pids.limit=5 6":     "something follows the value",
		"process.args[0]extra=1":             "it is no path",
		"linux.resources.pids.limit=1000e99": "takes a whole number",
	} {
		err := field.Set(&specs.Spec{}, assignment)
		if !errors.Is(err, field.ErrField) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", assignment, err, want)
		}
	}
}

func TestDiff(t *testing.T) {
	const a = `{"a":{"b":[1,2,{"c.d":true}],"x":1},"gone":"<&>","same":[1]}`
	const b = `{"a":{"b":[1,3,{"c.d":false}],"x":1.0},"new":null,"same":[1]}`
	got, err := field.Diff([]byte(a), []byte(b))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"path":"a.b[1]","before":2,"after":3},{"path":"a.b[2][\"c.d\"]","before":true,"after":false},` +
		`{"path":"a.x","before":1,"after":1.0},{"path":"gone","before":"<&>"},{"path":"new","after":null}]`
	var wanted []field.Difference
	decode(t, want, &wanted)
	if encode(t, got) != encode(t, wanted) {
		t.Errorf("got %s", encode(t, got))
	}
	lists, err := field.Diff([]byte(`{"l":[1]}`), []byte(`{"l":[1,2]}`))
	if err != nil || len(lists) != 1 || lists[0].Path != "l" {
		t.Errorf("lists of other lengths: %v, %v", lists, err)
	}
	if same, err := field.Diff([]byte(a), []byte(a)); err != nil || same != nil {
		t.Errorf("a document differs from itself: %v, %v", same, err)
	}
	if _, err := field.Diff([]byte("{"), []byte("{}")); err == nil {
		t.Error("a document that is no JSON is compared")
	}
}

func FuzzSet(f *testing.F) {
	for _, seed := range []string{"process.cwd=/x", `annotations["a.b"]=c`, "mounts[0].options[0]=ro", "linux.resources.pids.limit=5", "linux.seccomp={}", "a[[=", `["a"]=1`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, assignment string) {
		var spec specs.Spec
		if err := field.Set(&spec, assignment); err != nil && !errors.Is(err, field.ErrField) {
			t.Fatalf("%q: %v is not ErrField", assignment, err)
		}
		if _, err := json.Marshal(spec); err != nil {
			t.Fatalf("%q makes a spec that cannot be written: %v", assignment, err)
		}
	})
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
