package supervisor

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// What was left comes back as it is used, or this test would not end. How much of it has come back
// already depends on how large the pieces are in which the kernel has the file (folios).
func TestGiveBackMemoryLeavesTheProgram(t *testing.T) {
	before := programKiB(t)
	if err := giveBackMemory(); err != nil {
		t.Fatal(err)
	}
	after := programKiB(t)
	if after >= before {
		t.Errorf("%d KiB of the program are in memory, %d KiB before", after, before)
	}
	if before == 0 {
		t.Error("the program is not found in /proc/self/smaps")
	}
}

// programKiB is how much of the executable is in this process's memory.
func programKiB(t *testing.T) (sum int) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer smaps.Close()
	ofProgram := false
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		line := lines.Text()
		if first, _, _ := strings.Cut(line, " "); !strings.HasSuffix(first, ":") {
			ofProgram = strings.HasSuffix(line, " "+exe) && !strings.Contains(line, " rw-p ")
			continue
		}
		var size int
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &size); err == nil && ofProgram {
			sum += size
		}
	}
	return sum
}
