package supervisor

import (
	"debug/elf"
	"fmt"
	"os"
	goruntime "runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// giveBackMemory gives back what a start took and an environment that is up does not need.
func giveBackMemory() error {
	// Each collection halves stacks that were deep once.
	for range 2 {
		goruntime.GC()
	}
	debug.FreeOSMemory()
	return leaveProgram()
}

// leaveProgram takes the program's code and constants out of this process's page tables (madvise(2),
// MADV_DONTNEED). A start goes through nearly all of them, 12 MB, an environment that is up through
// little, which comes back from the page cache as it is used. The file's pages in the cache are those
// of every sandboxrun on the machine.
//
// Only segments that nobody can write to are left: of one that is mapped for writing, changes would be lost.
func leaveProgram() error {
	program, err := elf.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("read own program: %w", err)
	}
	defer program.Close() //nolint:errcheck // was only read
	if program.Type != elf.ET_EXEC {
		return nil // it is not where the file says
	}
	page := uint64(os.Getpagesize())
	for _, segment := range program.Progs {
		if segment.Type != elf.PT_LOAD || segment.Flags&elf.PF_W != 0 {
			continue
		}
		// Whole pages of this segment only.
		first := (segment.Vaddr + page - 1) &^ (page - 1)
		end := (segment.Vaddr + segment.Memsz) &^ (page - 1)
		if first >= end {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(first), uintptr(end-first), unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("leave own program: %w", os.NewSyscallError("madvise", errno))
		}
	}
	return nil
}
