package main

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

func TestTrueProgram(t *testing.T) {
	for arch := range exitZero {
		t.Run(arch, func(t *testing.T) {
			data, err := trueProgram(arch)
			if err != nil {
				t.Fatal(err)
			}
			file, err := elf.NewFile(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			code := file.Progs[0]
			if file.Entry <= code.Vaddr || file.Entry >= code.Vaddr+code.Filesz || code.Filesz != uint64(len(data)) {
				t.Errorf("entry %#x, segment %#x+%#x, file %#x", file.Entry, code.Vaddr, code.Filesz, len(data))
			}
			if arch != runtime.GOARCH {
				return
			}
			path := filepath.Join(t.TempDir(), "true")
			if err := os.WriteFile(path, data, 0o755); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(path).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("it said %q and ended with %v", out, err)
			}
		})
	}
	if _, err := trueProgram("vax"); err == nil {
		t.Error("a program was made for an unknown machine")
	}
}
