package bundles

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestDecodeErrors(t *testing.T) {
	tests := []struct {
		name string
		data string
		want string
	}{
		{"empty", "", "config.json: not JSON: the file is empty"},
		{"blank", " \n\t", "config.json: not JSON: the file is empty"},
		{"text", "hello", "config.json: not JSON: line 1, column 1: invalid character 'h' looking for beginning of value"},
		{"cut off", "{\"process\": {", "config.json: not JSON: line 1, column 13: unexpected end of JSON input"},
		{"third line", "{\n  \"hostname\": \"é\",\n  \"é\" \"x\"\n}", "config.json: not JSON: line 3, column 7: invalid character '\"' after object key"},
		{"comma at end", "{\"mounts\": [],}", "config.json: not JSON: line 1, column 15: invalid character '}' looking for beginning of object key string"},
		{"garbage after", "{\"ociVersion\": \"1.0.0\"}\n}", "config.json: not JSON: line 2, column 1: invalid character '}' after top-level value"},
		{"second document", "{}{}", "config.json: not JSON: line 1, column 3: invalid character '{' after top-level value"},
		{"null", "null", "config.json: must be an object, not null"},
		{"array", "[]", "config.json: must be an object, not an array"},
		{"string", "\"x\"", "config.json: must be an object, not a string"},
		{"object for string", `{"hostname": {}}`, "config.json: hostname: must be a string, not an object"},
		{"number for string", `{"ociVersion": 1.0}`, "config.json: ociVersion: must be a string, not 1.0"},
		{"string for array", `{"process": {"args": "sh"}}`, "config.json: process.args: must be an array, not a string"},
		{"in array", `{"process": {"args": ["sh", 1]}}`, "config.json: process.args[1]: must be a string, not 1"},
		{"in object in array", `{"mounts": [{}, {"destination": "/a", "options": ["ro", ["x"]]}]}`, "config.json: mounts[1].options[1]: must be a string, not an array"},
		{"string for bool", `{"process": {"terminal": "yes"}}`, "config.json: process.terminal: must be true or false, not a string"},
		{"bool for number", `{"linux": {"resources": {"memory": {"limit": true}}}}`, "config.json: linux.resources.memory.limit: must be a whole number from -9223372036854775808 to 9223372036854775807, not true"},
		{"fraction", `{"linux": {"resources": {"cpu": {"quota": 0.5}}}}`, "config.json: linux.resources.cpu.quota: must be a whole number from -9223372036854775808 to 9223372036854775807, not 0.5"},
		{"negative", `{"process": {"user": {"uid": -1}}}`, "config.json: process.user.uid: must be a whole number from 0 to 4294967295, not -1"},
		{"too large", `{"linux": {"resources": {"blockIO": {"weightDevice": [{"weight": 65536}]}}}}`, "config.json: linux.resources.blockIO.weightDevice[0].weight: must be a whole number from 0 to 65535, not 65536"},
		{"embedded struct", `{"linux": {"resources": {"blockIO": {"weightDevice": [{"major": "8"}]}}}}`, "config.json: linux.resources.blockIO.weightDevice[0].major: must be a whole number from -9223372036854775808 to 9223372036854775807, not a string"},
		{"long number", `{"process": {"user": {"uid": ` + strings.Repeat("9", 60) + `}}}`, "config.json: process.user.uid: must be a whole number from 0 to 4294967295, not " + strings.Repeat("9", 40) + "…"},
		{"in map", `{"annotations": {"a": 1}}`, "config.json: annotations.a: must be a string, not 1"},
		{"in map with dots", `{"linux": {"sysctl": {"net.ipv4.ip_forward": 1}}}`, `config.json: linux.sysctl["net.ipv4.ip_forward"]: must be a string, not 1`},
		{"in map of maps", `{"linux": {"netDevices": {"eth0": {"name": []}}}}`, "config.json: linux.netDevices.eth0.name: must be a string, not an array"},
		{"array for map", `{"annotations": []}`, "config.json: annotations: must be an object, not an array"},
		{"seldom member", `{"process": {"scheduler": {"nice": "x"}}}`, "config.json: process.scheduler.nice: must be a whole number from -2147483648 to 2147483647, not a string"},
		{"another case", `{"Process": {"CWD": 1}}`, "config.json: Process.CWD: must be a string, not 1"},
		{"nested arrays", `{"linux": {"seccomp": {"syscalls": [{}, {"args": [{}, {"op": 1}]}]}}}`, "config.json: linux.seccomp.syscalls[1].args[1].op: must be a string, not 1"},
		{"all of them", `{"root": [], "process": {"cwd": 1, "args": [1, "a", 2]}, "x": 5, "linux": 7}`,
			"config.json: root: must be an object, not an array\n" +
				"config.json: process.cwd: must be a string, not 1\n" +
				"config.json: process.args[0]: must be a string, not 1\n" +
				"config.json: process.args[2]: must be a string, not 2\n" +
				"config.json: linux: must be an object, not 7"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec, err := Decode([]byte(test.data))
			if err == nil {
				t.Fatalf("Decode accepted it: %+v", spec)
			}
			if err.Error() != test.want {
				t.Errorf("got:  %s\nwant: %s", err, test.want)
			}
			var specErr *SpecError
			if !errors.As(err, &specErr) {
				t.Errorf("no *SpecError in %T", err)
			}
		})
	}
}

func TestDecodeAccepts(t *testing.T) {
	version := "1.3.0"
	tests := []struct {
		name string
		data string
		want *specs.Spec
	}{
		{"nothing", `{}`, &specs.Spec{}},
		{"unknown members", `{"ociVersion": "1.3.0", "x": [1, {"y": null}], "process": {"cwd": "/", "z": 1}}`,
			&specs.Spec{Version: version, Process: &specs.Process{Cwd: "/"}}},
		{"another case", `{"OCIVERSION": "1.3.0"}`, &specs.Spec{Version: version}},
		{"null is absent", `{"ociVersion": "1.3.0", "process": null, "mounts": null}`, &specs.Spec{Version: version}},
		{"last of two", `{"ociVersion": "x", "ociVersion": "1.3.0"}`, &specs.Spec{Version: version}},
		{"escapes", `{"ociVersion": "1.3\u002e0", "hostname": "a\"\\\n\ud83d\ude00"}`, &specs.Spec{Version: version, Hostname: "a\"\\\n😀"}},
		{"not UTF-8", "{\"hostname\": \"a\xffb\"}", &specs.Spec{Hostname: "a\ufffdb"}},
		{"another platform", `{"windows": {"layerFolders": ["a"]}}`, &specs.Spec{Windows: &specs.Windows{LayerFolders: []string{"a"}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Decode([]byte(test.data))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got:  %s\nwant: %s", toJSON(t, got), toJSON(t, test.want))
			}
		})
	}
}

// TestDecodePlain tells that the documents people have go the fast way, and that
// encoding/json agrees.
func TestDecodePlain(t *testing.T) {
	for name, data := range plainDocuments(t) {
		t.Run(name, func(t *testing.T) {
			plain, ok := decodePlain(data)
			if !ok {
				t.Fatal("decodePlain gave up")
			}
			want, err := decodeAny(data)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(plain, want) {
				t.Errorf("got:  %s\nwant: %s", toJSON(t, plain), toJSON(t, want))
			}
		})
	}
}

func TestDecodePlainGivesUp(t *testing.T) {
	for _, data := range []string{
		``, `{`, `{}x`, `{} {}`, "{}\x00", `{,}`, `{"process"}`, `{"process":}`, `{"process":{}`, `{"process":{},}`,
		`{"hostname":"a}`, `{"hostname":"\x"}`, "{\"hostname\":\"a\nb\"}", `{"hostname":null}`,
		`{"process":{"terminal":tru}}`, `{"process":{"terminal":truex}}`, `{"process":{"args":["a",]}}`,
		`{"process":{"args":["a" "b"]}}`, `{"process":{"user":{"uid":01}}}`, `{"process":{"user":{"uid":1.0}}}`,
		`{"process":{"user":{"uid":1e3}}}`, `{"process":{"user":{"uid":}}}`, `{"process":{"user":{"uid":-}}}`,
		`{"annotations":{"a":"b",}}`, `{"annotations":{"a"}}`, `{"hooks":{"x":[}]}}`, `{"hooks":{]}`, `{"hooks":{"a`,
		`{"process":{},"process":{}}`, `{"x":1}`, `{"Hostname":"a"}`,
	} {
		if spec, ok := decodePlain([]byte(data)); ok {
			t.Errorf("decodePlain read %q as %s", data, toJSON(t, spec))
		}
	}
}

// FuzzDecode holds decodePlain to encoding/json, and the rest to: no panic, only
// *SpecErrors of one line, and what is valid comes out of Encode as it went in.
func FuzzDecode(f *testing.F) {
	for _, data := range plainDocuments(f) {
		f.Add(data)
	}
	for _, data := range []string{`{"process": {"args": ["sh", 1]}}`, `{"a":`, `null`, `{"PROCESS": null}`, `{"linux":{"sysctl":{"":1}}}`} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		reference, referenceErr := decodeAny(data)
		if plain, ok := decodePlain(data); ok {
			if referenceErr != nil {
				t.Fatalf("decodePlain accepts what encoding/json doesn't: %v", referenceErr)
			}
			if !reflect.DeepEqual(plain, reference) {
				t.Fatalf("decodePlain: %s\nencoding/json: %s", toJSON(t, plain), toJSON(t, reference))
			}
		}
		spec, err := Decode(data)
		if err == nil {
			err = Validate(spec)
		}
		if err != nil {
			requireSpecErrors(t, err)
			return
		}
		encoded, err := Encode(spec)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if err := Validate(again); err != nil {
			t.Fatalf("valid before Encode, not after: %v", err)
		}
		// Encode leaves out what is empty, so that the documents are compared.
		encodedAgain, err := Encode(again)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encoded, encodedAgain) {
			t.Fatalf("first:  %s\nsecond: %s", encoded, encodedAgain)
		}
	})
}

func requireSpecErrors(t *testing.T, err error) {
	t.Helper()
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, each := range joined.Unwrap() {
			requireSpecErrors(t, each)
		}
		return
	}
	if problem := (*SpecError)(nil); !errors.As(err, &problem) {
		t.Fatalf("%T is no *SpecError: %v", err, err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Fatalf("more than one line: %q", err)
	}
}

func BenchmarkDecode(b *testing.B) {
	data := defaultDocument(b)
	for name, decode := range map[string]func([]byte) (*specs.Spec, error){"plain": Decode, "any": decodeAny} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecodeOnce measures the first decoding of a process, as each start of a
// container pays for it.
func BenchmarkDecodeOnce(b *testing.B) {
	data := defaultDocument(b)
	for _, way := range []string{"plain", "any"} {
		b.Run(way, func(b *testing.B) {
			total := 0.0
			for b.Loop() {
				command := exec.CommandContext(b.Context(), "/proc/self/exe")
				command.Env = append(os.Environ(), decodeOnceEnv+"="+way)
				command.Stdin = bytes.NewReader(data)
				out, err := command.Output()
				if err != nil {
					b.Fatal(err)
				}
				ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
				if err != nil {
					b.Fatal(err)
				}
				total += ns
			}
			b.ReportMetric(total/float64(b.N)/1000, "µs/decode")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// plainDocuments are those that decodePlain has to read.
func plainDocuments(t testing.TB) map[string][]byte {
	t.Helper()
	documents := map[string][]byte{
		"default": defaultDocument(t),
		"all members": []byte(`{
			"ociVersion": "1.3.0", "hostname": "h", "domainname": "d",
			"root": {"path": "/r\u002fs", "readonly": true},
			"annotations": {"a": "b", "a": "c", "": ""},
			"process": {
				"terminal": false, "user": {"uid": 1, "gid": 4294967295, "umask": 18, "additionalGids": [1, 2]},
				"args": ["a", "", "\"\\\/\b\f\n\r\t\u00e9😀"], "env": [], "cwd": "/",
				"capabilities": {"bounding": ["A"], "effective": ["B"], "inheritable": ["C"], "permitted": ["D"], "ambient": ["E"]},
				"rlimits": [{"type": "RLIMIT_CORE", "hard": 18446744073709551615, "soft": 0}],
				"noNewPrivileges": true, "apparmorProfile": "p", "oomScoreAdj": -999, "selinuxLabel": "s",
				"consoleSize": {"height": 1, "width": 2}, "scheduler": {"policy": "SCHED_RR", "priority": 1},
				"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}, "execCPUAffinity": {"initial": "0"}
			},
			"mounts": [{"destination": "/a", "type": "t", "source": "s", "options": ["o"],
				"uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}], "gidMappings": []}, {}],
			"hooks": {"createRuntime": [{"path": "/h", "args": ["}", "\"]"], "timeout": 1}]},
			"linux": {
				"uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}], "gidMappings": [{}],
				"sysctl": {"net.ipv4.ip_forward": "1"}, "cgroupsPath": "/c", "namespaces": [{"type": "pid", "path": "/p"}, {"type": "user"}],
				"resources": {
					"devices": [{"allow": true, "type": "c", "major": -1, "minor": 0, "access": "rwm"}],
					"memory": {"limit": 1, "reservation": -1, "swap": 2, "swappiness": 3, "disableOOMKiller": true, "useHierarchy": false, "checkBeforeUpdate": true},
					"cpu": {"shares": 1, "quota": -1, "burst": 2, "period": 3, "realtimeRuntime": 4, "realtimePeriod": 5, "cpus": "0", "mems": "1", "idle": 0},
					"pids": {"limit": 9}, "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
					"hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "network": {"classID": 1}, "rdma": {"a": {"hcaHandles": 1}},
					"unified": {"memory.high": "1"}
				},
				"devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 438}], "netDevices": {"eth0": {"name": "eth1"}},
				"seccomp": {
					"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86"], "flags": [],
					"listenerPath": "/l", "listenerMetadata": "m",
					"syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW", "errnoRet": 2, "args": [{"index": 1, "value": 18446744073709551615, "valueTwo": 3, "op": "SCMP_CMP_EQ"}]}]
				},
				"rootfsPropagation": "private", "maskedPaths": ["/m"], "readonlyPaths": ["/r"], "mountLabel": "l",
				"intelRdt": {"closID": "c"}, "memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": ""}, "personality": {"domain": "LINUX"},
				"timeOffsets": {"monotonic": {"secs": -1}}
			}
		}`),
		"empty": []byte(`{}`),
		"compact": []byte(`{"ociVersion":"1.0.2-dev","process":{"user":{"uid":0,"gid":0},"args":["sh"],"cwd":"/"},"root":{"path":"rootfs"},` +
			`"linux":{"namespaces":[{"type":"mount"}],"resources":{"pids":{}}}}`),
	}
	rootlessSpec := mustDefault(t)
	rootless(rootlessSpec, 1000, 1000)
	data, err := Encode(rootlessSpec)
	if err != nil {
		t.Fatal(err)
	}
	documents["rootless"] = data
	return documents
}

func mustDefault(t testing.TB, options ...Option) *specs.Spec {
	t.Helper()
	spec, err := Default(options...)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func defaultDocument(t testing.TB) []byte {
	t.Helper()
	data, err := Encode(mustDefault(t))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func toJSON(t testing.TB, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
