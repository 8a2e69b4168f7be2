package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// terminalWidth is that of the terminal behind w; 0 where there is none.
func terminalWidth(w any) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return max(40, int(size.Col))
}

// isTerminal tells whether a stream is a terminal.
func isTerminal(stream any) bool { return terminalWidth(stream) > 0 }

// wantsColor tells whether output to w is to be coloured (no-color.org).
func (inv *invocation) wantsColor(w io.Writer, never bool) bool {
	if _, set := inv.getenv("NO_COLOR"); set || never {
		return false
	}
	return isTerminal(w) && inv.getString("TERM") != "dumb"
}
