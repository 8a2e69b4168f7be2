package unpack_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// benchLayer returns a layer to measure: the file that SANDBOXRUN_BENCH_LAYER
// names (a Debian root filesystem packed by tar), or one made here of 8,000 small files.
func benchLayer(b *testing.B) string {
	b.Helper()
	if path := os.Getenv("SANDBOXRUN_BENCH_LAYER"); path != "" {
		return path
	}
	var entries []entry
	for i := range 8000 {
		content := bytes.Repeat(fmt.Appendf(nil, "line %d\n", i), 1000)
		entries = append(entries, file(fmt.Sprintf("usr/share/d%03d/f%d", i/50, i), string(content)))
	}
	path := filepath.Join(b.TempDir(), "layer.tar.gz")
	if err := os.WriteFile(path, gzipped(b, pack(b, entries...)), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkLayer unpacks a layer by this package and by tar(1).
func BenchmarkLayer(b *testing.B) {
	path := benchLayer(b)
	b.Run("unpack", func(b *testing.B) {
		measure(b, func(dir string) error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = unpack.Layer(context.Background(), dir, f, unpack.Options{})
			return err
		})
	})
	b.Run("tar", func(b *testing.B) {
		measure(b, func(dir string) error {
			return exec.Command("tar", "--xattrs", "--numeric-owner", "-xpf", path, "-C", dir).Run()
		})
	})
}

// measure times one call for an empty directory.
func measure(b *testing.B, run func(dir string) error) {
	b.Helper()
	above := b.TempDir()
	for i := 0; b.Loop(); i++ {
		dir := filepath.Join(above, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := run(dir); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
