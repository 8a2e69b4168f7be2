package bundles

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Validate tells all that is wrong with spec: what runtime-spec 1.3 requires of a
// Linux container, and what libcontainer would refuse late, in the middle of a
// start, or in words that don't name the place. It returns nil, or *SpecErrors
// joined (errors.Join), in the order of the specification.
//
// It asks neither the file system nor the kernel; see the package comment. It
// neither changes spec nor fills in defaults.
func Validate(spec *specs.Spec) error {
	if spec == nil {
		return &SpecError{Problem: "must be an object, not null"}
	}
	v := &validation{spec: spec}
	v.version()
	v.root()
	v.process()
	v.hostname()
	v.mounts()
	v.hooks()
	v.linux()
	return errors.Join(v.problems...)
}

// ValidateProcess is Validate for the process of an exec, which has no spec
// around it. The paths of its errors start with "process.".
func ValidateProcess(process *specs.Process) error {
	v := &validation{spec: &specs.Spec{Process: process}}
	v.process()
	return errors.Join(v.problems...)
}

// validation collects the problems of one spec.
type validation struct {
	spec     *specs.Spec
	problems []error
}

func (v *validation) add(path, format string, args ...any) {
	v.problems = append(v.problems, &SpecError{Path: path, Problem: fmt.Sprintf(format, args...)})
}

// version accepts every 1.x.y, also newer ones than 1.3: runc and crun run them,
// and members they add are to be ignored by the specification's own rule
// ("Extensibility", config.md). runc accepts any other text as well, but a 2.x
// document is by SemVer's definition one that this runtime can't read.
func (v *validation) version() {
	version := v.spec.Version
	if version == "" {
		v.add("ociVersion", "is missing; set it to %q", specs.Version)
		return
	}
	major, ok := semverMajor(version)
	if !ok {
		v.add("ociVersion", "must be a semantic version such as %q, not %q", specs.Version, version)
		return
	}
	if major != "1" {
		v.add("ociVersion", "must be 1.x.y, not %q; this runtime implements %s", version, specs.Version)
	}
}

// semverMajor returns the major version of a text in SemVer 2.0.0 format. It is
// written out because compiling a regular expression costs each start of the
// program, also those that never get here.
func semverMajor(version string) (major string, ok bool) {
	version, build, hasBuild := strings.Cut(version, "+")
	if hasBuild && !dotted(build, isIdentifier) {
		return "", false
	}
	version, prerelease, hasPrerelease := strings.Cut(version, "-")
	if hasPrerelease && !dotted(prerelease, isPrerelease) {
		return "", false
	}
	major, _, _ = strings.Cut(version, ".")
	return major, strings.Count(version, ".") == 2 && dotted(version, isNumber)
}

func dotted(text string, valid func(string) bool) bool {
	for part := range strings.SplitSeq(text, ".") {
		if !valid(part) {
			return false
		}
	}
	return true
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
}

func isIdentifier(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}

// isPrerelease is isIdentifier without numbers that begin with 0.
func isPrerelease(s string) bool {
	return isIdentifier(s) && (isNumber(s) || strings.Trim(s, "0123456789") != "")
}

func (v *validation) root() {
	if v.spec.Root == nil {
		v.add("root", "is missing; set root.path to the directory of the root filesystem")
		return
	}
	if v.spec.Root.Path == "" {
		v.add("root.path", "is missing or empty; set it to the directory of the root filesystem")
		return
	}
	v.noNull("root.path", v.spec.Root.Path)
}

func (v *validation) hostname() {
	if v.spec.Hostname != "" && !v.hasNamespace(specs.UTSNamespace) {
		v.add("hostname", "needs a namespace of type \"uts\" in linux.namespaces")
	}
	if v.spec.Domainname != "" && !v.hasNamespace(specs.UTSNamespace) {
		v.add("domainname", "needs a namespace of type \"uts\" in linux.namespaces")
	}
	// __NEW_UTS_LEN of <linux/utsname.h>: sethostname(2) refuses longer ones.
	const longest = 64
	if len(v.spec.Hostname) > longest {
		v.add("hostname", "must have at most %d bytes, not %d", longest, len(v.spec.Hostname))
	}
	if len(v.spec.Domainname) > longest {
		v.add("domainname", "must have at most %d bytes, not %d", longest, len(v.spec.Domainname))
	}
}

func (v *validation) hooks() {
	hooks := v.spec.Hooks
	if hooks == nil {
		return
	}
	v.hookList("hooks.prestart", hooks.Prestart) //nolint:staticcheck // SA1019: deprecated, but containers that have it must work.
	v.hookList("hooks.createRuntime", hooks.CreateRuntime)
	v.hookList("hooks.createContainer", hooks.CreateContainer)
	v.hookList("hooks.startContainer", hooks.StartContainer)
	v.hookList("hooks.poststart", hooks.Poststart)
	v.hookList("hooks.poststop", hooks.Poststop)
}

func (v *validation) hookList(at string, hooks []specs.Hook) {
	for i, hook := range hooks {
		at := index(at, i)
		v.absolute(at+".path", hook.Path)
		v.environment(at+".env", hook.Env)
		if hook.Timeout != nil && *hook.Timeout <= 0 {
			v.add(at+".timeout", "must be more than 0 seconds, not %d", *hook.Timeout)
		}
	}
}

// absolute demands a path from the root.
func (v *validation) absolute(at, value string) {
	switch {
	case value == "":
		v.add(at, "is missing or empty; set it to an absolute path")
	case !path.IsAbs(value):
		v.add(at, "must be an absolute path, not %q", value)
	default:
		v.noNull(at, value)
	}
}

// noNull refuses strings that the kernel would read only a part of.
func (v *validation) noNull(at, value string) {
	if strings.IndexByte(value, 0) >= 0 {
		v.add(at, "must not contain a null byte: %q", value)
	}
}

func (v *validation) hasNamespace(kind specs.LinuxNamespaceType) bool {
	_, ok := v.namespace(kind)
	return ok
}

// namespace returns the first entry of a kind; duplicates are reported elsewhere.
func (v *validation) namespace(kind specs.LinuxNamespaceType) (specs.LinuxNamespace, bool) {
	if v.spec.Linux != nil {
		for _, ns := range v.spec.Linux.Namespaces {
			if ns.Type == kind {
				return ns, true
			}
		}
	}
	return specs.LinuxNamespace{}, false
}
