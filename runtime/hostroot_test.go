package runtime

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestPropagationFlag(t *testing.T) {
	tests := []struct {
		optional string // as in mountinfo
		want     int
	}{
		{"", unix.MS_PRIVATE},
		{"shared:1", unix.MS_SHARED},
		{"master:1", unix.MS_SLAVE},
		{"shared:7 master:1", unix.MS_SHARED},
		{"master:1 propagate_from:2", unix.MS_SLAVE},
		{"unbindable", unix.MS_UNBINDABLE},
	}
	for _, tt := range tests {
		if got := propagationFlag(tt.optional); got != tt.want {
			t.Errorf("propagationFlag(%q) = %#x, want %#x", tt.optional, got, tt.want)
		}
	}
}
