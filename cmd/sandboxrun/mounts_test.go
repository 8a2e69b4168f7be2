package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestMountsAreParsed(t *testing.T) {
	tests := []struct {
		text string
		want []specs.Mount // nil: an error
	}{
		{`[]`, []specs.Mount{}},
		{`[{"destination":"/b","source":"/a","type":"bind","options":["ro"]}]`, []specs.Mount{{Destination: "/b", Source: "/a", Type: "bind", Options: []string{"ro"}}}},
		{`null`, nil},
		{`{}`, nil},
		{`[{"destination":1}]`, nil},
		{`[{"target":"/b"}]`, nil},
		{`[] []`, nil},
		{``, nil},
	}
	for _, tt := range tests {
		got, err := parseMounts([]byte(tt.text))
		if (err != nil) != (tt.want == nil) || err == nil && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("parseMounts(%s) = %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
	}
}

// Whatever is read as mounts is the same when it is written and read again.
func FuzzMounts(f *testing.F) {
	f.Add([]byte(`[{"destination":"/b","source":"/a","type":"bind","options":["ro"]}]`))
	f.Add([]byte(`[{"destination":"/b","uidMappings":[{"containerID":0,"hostID":1,"size":2}]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		mounts, err := parseMounts(data)
		if err != nil {
			return
		}
		written, err := json.Marshal(mounts)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseMounts(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if rewritten, err := json.Marshal(again); err != nil || !bytes.Equal(written, rewritten) {
			t.Fatalf("%s became %s, %v", written, rewritten, err)
		}
	})
}
