package main

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/sandboxrun/sandboxrun/bundles"
)

func TestParseVariants(t *testing.T) {
	tests := []struct {
		list string
		want []string // nil: an error
	}{
		{"plain", []string{"plain"}},
		{"seccomp+limits,plain", []string{"plain", "seccomp+limits"}},
		{"plain,seccomp,limits,seccomp+limits", []string{"plain", "seccomp", "limits", "seccomp+limits"}},
		{"create-start-delete,exec", []string{"exec", "create-start-delete"}},
		{"", nil},
		{"plain,", nil},
		{"plain,fast", nil},
		{"Plain", nil},
	}
	for _, test := range tests {
		found, err := parseVariants(test.list)
		if (err != nil) != (test.want == nil) {
			t.Errorf("parseVariants(%q): error %v", test.list, err)
			continue
		}
		var names []string
		for _, v := range found {
			names = append(names, v.Name)
		}
		if test.want != nil && !slices.Equal(names, test.want) {
			t.Errorf("parseVariants(%q) = %q, want %q", test.list, names, test.want)
		}
	}
}

func TestBundles(t *testing.T) {
	dir := t.TempDir()
	for _, v := range allVariants() {
		t.Run(v.Name, func(t *testing.T) {
			if err := v.writeBundle(dir, "/sandboxrun-bench-test", programs{"true": []byte("program")}); err != nil {
				t.Fatal(err)
			}
			bundle, err := bundles.Load(filepath.Join(dir, v.Name))
			if err != nil {
				t.Fatal(err)
			}
			linux := bundle.Spec.Linux
			if got := linux.Seccomp != nil; got != v.Seccomp {
				t.Errorf("has seccomp: %t", got)
			}
			r := linux.Resources
			if got := r.Memory != nil && r.CPU != nil && r.Pids != nil; got != v.Limits {
				t.Errorf("has limits: %t", got)
			}
			if v.Limits && (*r.Memory.Limit != 64<<20 || *r.CPU.Quota != int64(*r.CPU.Period) || *r.Pids.Limit != 64) {
				t.Errorf("limits are memory %d, CPU %d of %d, pids %d", *r.Memory.Limit, *r.CPU.Quota, *r.CPU.Period, *r.Pids.Limit)
			}
			if linux.CgroupsPath != "/sandboxrun-bench-test" || bundle.Spec.Version != oldestVersion || bundle.Spec.Process.Terminal {
				t.Errorf("cgroup %q, version %q, terminal %t", linux.CgroupsPath, bundle.Spec.Version, bundle.Spec.Process.Terminal)
			}
		})
	}
}
