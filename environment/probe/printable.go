package probe

import (
	"strings"
	"unicode"
)

// maxPrintable is how much of a service's own words is shown.
const maxPrintable = 256

// printable makes what a service said fit for a terminal and for one line.
func printable(text []byte) string {
	cut := len(text) > maxPrintable
	if cut {
		text = text[:maxPrintable]
	}
	shown := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '.'
	}, strings.ToValidUTF8(string(text), "."))
	if cut {
		shown += "…"
	}
	return shown
}
