package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The part of docs/conformance.md that is made from the table.
const (
	documentBegin = "<!-- results: written by go test ./test/conformance -update -->\n"
	documentEnd   = "<!-- end of results -->\n"
)

// document writes the table for people: how many end how, and what sandboxrun
// does not pass, with the reason. Executables with one reason and the same
// verdicts share a row.
func document(list []expectation) string {
	var text strings.Builder
	fmt.Fprintf(&text, "| of %d | %s |\n|---%s|\n", len(list), strings.Join(runtimes, " | "), strings.Repeat("|---", len(runtimes)))
	for _, v := range []verdict{passed, silent, failed, unrecorded} {
		if numbers, some := counts(list, v); some {
			fmt.Fprintf(&text, "| %s | %s |\n", title(v), strings.Join(numbers, " | "))
		}
	}
	fmt.Fprintf(&text, "\nWhat sandboxrun does not pass, and why:\n\n| executable | %s | why |\n|---%s|---|\n", strings.Join(runtimes, " | "), strings.Repeat("|---", len(runtimes)))
	for _, row := range rows(list) {
		text.WriteString(row)
	}
	return text.String()
}

func title(v verdict) string {
	if v == unrecorded {
		return "not recorded"
	}
	return string(v)
}

// counts tells for each runtime how many executables end with v; some is false
// if none does with any of them.
func counts(list []expectation, v verdict) (numbers []string, some bool) {
	for _, runtime := range runtimes {
		n := 0
		for _, e := range list {
			if e.verdicts[runtime] == v {
				n++
			}
		}
		numbers = append(numbers, strconv.Itoa(n))
		some = some || n > 0
	}
	return numbers, some
}

func rows(list []expectation) []string {
	var keys []string
	names := map[string][]string{}
	for _, e := range list {
		if e.reason == "" {
			continue
		}
		var key strings.Builder
		for _, runtime := range runtimes {
			fmt.Fprintf(&key, "| %s ", e.verdicts[runtime])
		}
		fmt.Fprintf(&key, "| %s |\n", e.reason)
		if !slices.Contains(keys, key.String()) {
			keys = append(keys, key.String())
		}
		names[key.String()] = append(names[key.String()], "`"+e.name+"`")
	}
	for i, key := range keys {
		keys[i] = "| " + strings.Join(names[key], ", ") + " " + key
	}
	return keys
}
