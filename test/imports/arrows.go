package imports

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Module is the module's path.
const Module = "github.com/sandboxrun/sandboxrun"

// Package is what the go command says of one package. All paths are import paths.
type Package struct {
	ImportPath   string
	Name         string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// arrows names, for each part of the tree, the parts of ours that it may import beside itself. A part is a top-level
// folder; each command is a part of its own.
var arrows = map[string][]string{
	"internal":              {},
	"nsinit":                {"internal"},
	"cgroup":                {"internal"},
	"rootfs":                {"internal"},
	"network":               {"internal"},
	"bundles":               {"rootfs", "cgroup", "internal"},
	"runtime":               {"nsinit", "cgroup", "internal"},
	"shim":                  {"runtime", "cgroup", "internal"},
	"environment":           {"runtime", "bundles", "rootfs", "cgroup", "network", "internal"},
	"cmd/sandboxrun":        {"environment", "runtime", "bundles", "rootfs", "cgroup", "network", "nsinit", "internal"},
	"cmd/sandboxrun-images": {"bundles", "rootfs", "cgroup", "internal"},
	"cmd/sandboxrun-env":    {"environment", "bundles", "rootfs", "cgroup", "network", "internal"},
	"cmd/containerd-shim-sandboxrun-v1": {
		"shim", "nsinit",
	},
	"test": {"environment", "shim", "runtime", "bundles", "rootfs", "cgroup", "network", "nsinit", "internal"},
}

// testArrows names what external tests (package x_test) may import beyond that: they use their package as its users do.
var testArrows = map[string][]string{
	// A container is run from a bundle, and runtime does not know how one is made.
	"runtime": {"bundles"},
}

// forTests are packages that serve tests: no program may link one.
var forTests = []string{"internal/golden", "network/networktest", "test/built", "test/environments", "test/leftovers"}

// owners names, for a library by its path's beginning, the parts that may import it. Each is wrapped by few parts because
// it changes under us: its types must not spread.
var owners = []struct {
	library string
	parts   []string
}{
	{"github.com/opencontainers/runc", []string{"runtime", "nsinit"}},
	{"github.com/opencontainers/cgroups", []string{"runtime", "nsinit"}},
	{"github.com/containerd/containerd/v2", []string{"shim"}},
	{"github.com/compose-spec/compose-go", []string{"environment"}},
}

// shapeless are names that say nothing of what a package owns.
var shapeless = []string{"util", "utils", "common", "helper", "helpers", "types", "misc"}

// Check returns a line for each import and each name that breaks a rule, in the packages' order.
func Check(packages []Package) []string {
	var broken []string
	for _, p := range packages {
		from := part(p.ImportPath)
		if _, known := arrows[from]; !known {
			broken = append(broken, fmt.Sprintf("%s: no arrows are known for %q; enter it in test/imports and docs/architecture.md", p.ImportPath, from))
			continue
		}
		for _, name := range []string{path.Base(p.ImportPath), p.Name} {
			if slices.Contains(shapeless, name) {
				broken = append(broken, fmt.Sprintf("%s: a package named %q owns no one idea; name it for what it owns", p.ImportPath, name))
				break
			}
		}
		broken = append(broken, checkForTests(p)...)
		broken = append(broken, checkImports(p.ImportPath, slices.Concat(p.Imports, p.TestImports), arrows[from])...)
		broken = append(broken, checkImports(p.ImportPath, p.XTestImports, slices.Concat(arrows[from], testArrows[from]))...)
	}
	return broken
}

// checkForTests returns a line for each package that serves tests and is imported by more than tests.
func checkForTests(p Package) []string {
	if isForTests(p.ImportPath) {
		return nil
	}
	var broken []string
	for _, imported := range p.Imports {
		if isForTests(imported) {
			broken = append(broken, fmt.Sprintf("%s imports %s: it is for tests alone", p.ImportPath, imported))
		}
	}
	return broken
}

func isForTests(importPath string) bool {
	return slices.ContainsFunc(forTests, func(path string) bool { return importPath == Module+"/"+path })
}

// checkImports returns a line for each of imports that the package importer must not have. Of our parts it may have its own
// and allowed.
func checkImports(importer string, imports, allowed []string) []string {
	slices.Sort(imports)
	var broken []string
	for _, imported := range slices.Compact(imports) {
		if problem := checkImport(importer, imported, allowed); problem != "" {
			broken = append(broken, fmt.Sprintf("%s imports %s: %s", importer, imported, problem))
		}
	}
	return broken
}

// checkImport says why importer must not import imported, or nothing.
func checkImport(importer, imported string, allowed []string) string {
	from := part(importer)
	if !within(imported, Module) {
		for _, o := range owners {
			if within(imported, o.library) && !slices.Contains(o.parts, from) {
				return "only " + strings.Join(o.parts, " and ") + " may"
			}
		}
		return ""
	}
	to := part(imported)
	switch {
	case imported == importer: // an external test of its own package
		return ""
	case strings.HasPrefix(to, "cmd/"):
		return "a command is never imported"
	case to == "internal" && from == "internal":
		return "internal packages import nothing of ours"
	case to == from || slices.Contains(allowed, to):
		return ""
	case len(allowed) == 0:
		return from + " imports nothing of ours"
	default:
		return fmt.Sprintf("of ours, %s imports only %s", from, strings.Join(allowed, ", "))
	}
}

// part returns the part of the tree that importPath belongs to.
func part(importPath string) string {
	elements := strings.Split(strings.TrimPrefix(importPath, Module+"/"), "/")
	if elements[0] == "cmd" && len(elements) > 1 {
		return "cmd/" + elements[1]
	}
	return elements[0]
}

// within tells whether the package importPath is root or below it.
func within(importPath, root string) bool {
	return importPath == root || strings.HasPrefix(importPath, root+"/")
}
