package spelling

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"command", "container_name", "image", "ports"}
	tests := []struct{ word, want string }{
		{"comand", "command"},
		{"cmomand", "command"}, // neighbours swapped
		{"image", "image"},
		{"imgae", "image"},
		{"port", "ports"},
		{"container-name", "container_name"},
		{"networks", ""},
		{"x", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := Nearest(tt.word, known); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}
