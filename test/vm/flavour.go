package main

import (
	_ "embed"
	"fmt"
	"strings"
)

var (
	//go:embed image/packages.txt
	basePackages string
	//go:embed image/engines.txt
	enginesPackages string
	//go:embed image/systemd.txt
	systemdPackages string
	//go:embed image/systemd.sh
	systemdScript string
)

// flavour is a kind of image: what it has beyond debootstrap's result, and how
// a guest starts from it.
type flavour struct {
	name     string
	packages string // names, one a line; lines with # are comments
	script   string // run by sh in the finished root; empty for none
	memory   string // what a guest gets if --memory isn't given
	// systemd says that systemd is PID 1 and runs guest/boot.sh as a service;
	// otherwise boot.sh is PID 1.
	systemd bool
}

// flavours returns every flavour, the default one first.
func flavours() []flavour {
	return []flavour{
		{name: "base", packages: basePackages, memory: "2G"},
		{name: "engines", packages: basePackages + enginesPackages, memory: "3G"},
		{name: "systemd", packages: basePackages + systemdPackages, script: systemdScript, memory: "2G", systemd: true},
	}
}

// findFlavour returns the flavour of that name.
func findFlavour(name string) (flavour, error) {
	var names []string
	for _, f := range flavours() {
		if f.name == name {
			return f, nil
		}
		names = append(names, f.name)
	}
	return flavour{}, fmt.Errorf("cannot use --image %q: not one of %s", name, strings.Join(names, ", "))
}

// hash names the finished image by what it is made of.
func (f flavour) hash() string {
	return contentHash(baseHash(), imageScript, f.packages, f.script)
}
