package unpack

import (
	"strings"
)

const (
	whiteoutPrefix = ".wh."
	// aufsPrefix begins the names of AUFS's own files (image-spec, layer.md,
	// "Opaque Whiteout"; pseudo links in .wh..wh.plnk), one of which means something.
	aufsPrefix = ".wh..wh."
	opaqueName = ".wh..wh..opq"
	// maxName is PATH_MAX without its NUL.
	maxName = 4095
)

// cleanName returns the entry's name without leading slashes, "." and empty
// components; "" is the tree itself. reason says why a name is refused.
func cleanName(name string, depth int64) (clean, reason string) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", "its name has a NUL byte"
	}
	if len(name) > maxName {
		return "", "its name is longer than 4095 bytes"
	}
	plain := true
	var n int64
	for rest := name; rest != ""; {
		var component string
		component, rest, _ = strings.Cut(rest, "/")
		switch component {
		case "", ".":
			plain = false
		case "..":
			return "", `its name has ".."`
		default:
			n++
		}
	}
	if n > depth {
		return "", reasonDepth
	}
	if plain {
		return strings.TrimSuffix(name, "/"), ""
	}
	components := make([]string, 0, n)
	for component := range strings.SplitSeq(name, "/") {
		if component != "" && component != "." {
			components = append(components, component)
		}
	}
	return strings.Join(components, "/"), ""
}

// reasonDepth is turned into a *LimitError.
const reasonDepth = "it is too deep"

// whiteoutKind is what a name with ".wh." in it means.
type whiteoutKind int

const (
	noWhiteout    whiteoutKind = iota
	deletion                   // .wh.x: what is named x below is gone
	opaque                     // .wh..wh..opq: nothing below shows in this directory
	aufs                       // a file of AUFS's own, or one below
	badWhiteout                // .wh., .wh.., .wh...
	belowWhiteout              // a path through a whiteout
)

// classify tells what the clean name means, and for a deletion the name that is
// deleted.
func classify(parent, base string) (whiteoutKind, string) {
	if strings.Contains(parent, whiteoutPrefix) {
		for component := range strings.SplitSeq(parent, "/") {
			switch {
			case strings.HasPrefix(component, aufsPrefix):
				return aufs, ""
			case strings.HasPrefix(component, whiteoutPrefix):
				return belowWhiteout, ""
			}
		}
	}
	deleted, ok := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !ok:
		return noWhiteout, ""
	case base == opaqueName:
		return opaque, ""
	case strings.HasPrefix(base, aufsPrefix):
		return aufs, ""
	case deleted == "" || deleted == "." || deleted == "..":
		return badWhiteout, ""
	}
	return deletion, deleted
}
