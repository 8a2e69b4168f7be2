package runtime

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestLiveMountsAreParsedOrRefused(t *testing.T) {
	tests := []struct {
		mount specs.Mount
		flags int    // of the parsed mount
		want  string // in the error; "" is none
	}{
		{specs.Mount{Type: "bind", Source: "/a", Destination: "/b"}, unix.MS_BIND, ""},
		{specs.Mount{Source: "/a", Destination: "/b", Options: []string{"rbind", "ro", "nodev"}}, unix.MS_BIND | unix.MS_REC | unix.MS_RDONLY | unix.MS_NODEV, ""},
		{specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: "/b", Options: []string{"size=1m", "noexec"}}, unix.MS_NOEXEC, ""},
		{specs.Mount{Type: "bind", Source: "/a"}, 0, "destination is empty"},
		{specs.Mount{Type: "bind", Source: "a", Destination: "/b"}, 0, "must be absolute"},
		{specs.Mount{Type: "bind", Source: "/a", Destination: "/b", Options: []string{"size=1m"}}, 0, `no option "size=1m"`},
		{specs.Mount{Type: "proc", Source: "proc", Destination: "/b"}, 0, `type "proc" is neither`},
		{specs.Mount{Type: "tmpfs", Destination: "/b", Options: []string{"tmpcopyup"}}, 0, "tmpcopyup"},
		{specs.Mount{Type: "tmpfs", Destination: "/b", Options: []string{"idmap"}}, 0, "id mappings"},
		{specs.Mount{Type: "bind", Source: "/a", Destination: "/b", Options: []string{"remount"}}, 0, "remount"},
		{specs.Mount{Type: "bind", Source: "/a\x00", Destination: "/b"}, 0, "null byte"},
	}
	for _, tt := range tests {
		parsed, err := parseMounts([]specs.Mount{tt.mount})
		switch {
		case tt.want != "":
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("parseMounts(%+v) = %v, want an error with %q", tt.mount, err, tt.want)
			}
		case err != nil:
			t.Errorf("parseMounts(%+v): %v", tt.mount, err)
		case parsed[0].Flags != tt.flags:
			t.Errorf("parseMounts(%+v) has flags %#x, want %#x", tt.mount, parsed[0].Flags, tt.flags)
		}
	}
}
