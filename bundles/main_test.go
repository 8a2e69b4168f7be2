package bundles

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// decodeOnceEnv makes the test binary decode standard input once, print the
// nanoseconds and exit: see BenchmarkDecodeOnce.
const decodeOnceEnv = "SANDBOXRUN_TEST_DECODE_ONCE"

func TestMain(m *testing.M) {
	if way, ok := os.LookupEnv(decodeOnceEnv); ok {
		os.Exit(decodeOnce(way))
	}
	os.Exit(m.Run())
}

func decodeOnce(way string) int {
	data, err := os.ReadFile("/dev/stdin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	decode := Decode
	if way == "any" {
		decode = decodeAny
	}
	start := time.Now()
	if _, err := decode(data); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(time.Since(start).Nanoseconds())
	return 0
}
