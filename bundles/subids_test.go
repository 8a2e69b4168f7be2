package bundles

import (
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseSubordinateIDs(t *testing.T) {
	owner := []string{"1000", "tester"}
	for _, tt := range []struct {
		name, text string
		want       []specs.LinuxIDMapping
	}{
		{"none", "", nil},
		{"of others", "root:100000:65536\nother:165536:65536\n", nil},
		{"by name", "tester:100000:65536\n", []specs.LinuxIDMapping{{ContainerID: 1, HostID: 100000, Size: 65536}}},
		{"by number, last line open", "1000:100000:65536", []specs.LinuxIDMapping{{ContainerID: 1, HostID: 100000, Size: 65536}}},
		{"two", "tester:100000:1000\nother:1:1\n1000:300000:2000\n", []specs.LinuxIDMapping{
			{ContainerID: 1, HostID: 100000, Size: 1000}, {ContainerID: 1001, HostID: 300000, Size: 2000},
		}},
		{"overlapping", "tester:100000:1000\ntester:100999:5\ntester:101000:5\n", []specs.LinuxIDMapping{
			{ContainerID: 1, HostID: 100000, Size: 1000}, {ContainerID: 1001, HostID: 101000, Size: 5},
		}},
		{"of another form", "tester\ntester:1\ntester:1:2:3\ntester:x:1\ntester:1:y\ntester:-1:1\ntester:1:0\n#tester:1:1\ntester:7:1\n",
			[]specs.LinuxIDMapping{{ContainerID: 1, HostID: 7, Size: 1}}},
		{"beyond the last ID", "tester:4294967290:10\ntester:4294967295:1\ntester:1:4294967295\n", nil},
		{"more in all than there are IDs", "tester:1:4294967000\ntester:4294967100:100\ntester:4294967200:90\n",
			[]specs.LinuxIDMapping{{ContainerID: 1, HostID: 1, Size: 4294967000}, {ContainerID: 4294967001, HostID: 4294967100, Size: 100},
				{ContainerID: 4294967101, HostID: 4294967200, Size: 90}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := parseSubordinateIDs(strings.NewReader(tt.text), owner); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// What comes out is a map that the kernel takes: at most 340 lines with the user's
// own, inside without gaps, and nothing twice.
func FuzzParseSubordinateIDs(f *testing.F) {
	f.Add("tester:100000:65536\n1000:1:1")
	f.Add("tester:4294967290:10\ntester:0:4294967295\n")
	f.Fuzz(func(t *testing.T, text string) {
		list := parseSubordinateIDs(strings.NewReader(text), []string{"1000", "tester"})
		if len(list) > 339 {
			t.Errorf("%d mappings", len(list))
		}
		next := uint64(1)
		for i, m := range list {
			if uint64(m.ContainerID) != next || m.Size == 0 {
				t.Errorf("mapping %d begins at %d, the one before it ends at %d: %+v", i, m.ContainerID, next, m)
			}
			next += uint64(m.Size)
			if next > 1<<32-1 || uint64(m.HostID)+uint64(m.Size) > 1<<32-1 {
				t.Errorf("mapping %d goes beyond the last ID: %+v", i, m)
			}
			for _, other := range list[:i] {
				if uint64(m.HostID) < uint64(other.HostID)+uint64(other.Size) && uint64(other.HostID) < uint64(m.HostID)+uint64(m.Size) {
					t.Errorf("%+v and %+v overlap", other, m)
				}
			}
		}
	})
}
