package cgroup

import (
	"os"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkStartPath is what a start with limits calls of this package.
func BenchmarkStartPath(b *testing.B) {
	limits := Limits{MemoryBytes: ptr[int64](64 << 20), CPUs: ptr(0.5), Pids: ptr[int64](64)}
	for b.Loop() {
		host, err := Detect()
		if err != nil {
			b.Skip(err)
		}
		r := &specs.LinuxResources{}
		if err := limits.Apply(r); err != nil {
			b.Fatal(err)
		}
		host.Missing(r, "/sandboxrun-test", false)
	}
}

// BenchmarkEndPath is what the end of a container calls: figures, limits, an empty kill, removal.
func BenchmarkEndPath(b *testing.B) {
	host, err := Detect()
	if err != nil || os.Getuid() != 0 {
		b.Skip("needs root and cgroups", err)
	}
	g, err := host.Group("/" + testPrefix() + "bench")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		for _, dir := range g.dirs() {
			if err := os.Mkdir(dir, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if _, err := g.Stats(); err != nil {
			b.Fatal(err)
		}
		g.Effective()
		if err := g.Kill(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := g.Remove(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
