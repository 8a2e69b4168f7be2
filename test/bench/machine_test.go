package main

import "testing"

func TestCPUModel(t *testing.T) {
	tests := []struct{ cpuinfo, want string }{
		{"processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7B13\nmodel name\t: other\n", "AMD EPYC 7B13"},
		{"processor\t: 0\nBogoMIPS\t: 50.00\n", ""},
		{"", ""},
	}
	for _, test := range tests {
		if got := cpuModel(test.cpuinfo); got != test.want {
			t.Errorf("cpuModel(%q) = %q, want %q", test.cpuinfo, got, test.want)
		}
	}
}

func TestMountPoint(t *testing.T) {
	tests := []struct {
		line, want string
		ok         bool
	}{
		{"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw", "/mnt2", true},
		{"36 35 98:0", "", false},
		{"", "", false},
	}
	for _, test := range tests {
		if got, ok := mountPoint(test.line); got != test.want || ok != test.ok {
			t.Errorf("mountPoint(%q) = %q, %t", test.line, got, ok)
		}
	}
}

func TestBelow(t *testing.T) {
	tests := []struct {
		path, dir string
		want      bool
	}{
		{"/tmp/a/b", "/tmp/a", true},
		{"/tmp/a", "/tmp/a", false},
		{"/tmp/ab", "/tmp/a", false},
		{"/tmp", "", false},
	}
	for _, test := range tests {
		if got := below(test.path, test.dir); got != test.want {
			t.Errorf("below(%q, %q) = %t", test.path, test.dir, got)
		}
	}
}
