package equivalence_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// pattern is a text that varies from run to run and what stands for it.
type pattern struct {
	text        *regexp.Regexp
	replacement string
}

// volatile is what the kernel or the clock hands out.
func volatile() []pattern {
	var all []pattern
	for _, each := range [][2]string{
		// Two on a terminal that is not raw yet, or no longer.
		{`\r+\n`, "\n"},
		{`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`, "$$TIME"},
		{`\b(pipe|socket|anon_inode):\[\d+\]`, "$1:[N]"},
		{`(?m)^((?:\w+: )?(?:Vm\w+|Rss\w+|Hugetlb\w*|\w*ctxt_switches):).*$`, "$1 N"},
		// Threads of the runtime's init take numbers before the program does.
		{`(?m)^((?:\w+: )?(?:Tgid|Pid|NStgid|NSpid):\s+)\d\d+$`, "${1}N"},
		{`(?m)^((?:\w+: )?SigQ:\s+)\d+`, "${1}N"},
	} {
		all = append(all, pattern{regexp.MustCompile(each[0]), each[1]})
	}
	return all
}

// hostPids is for a program whose process ID is neither 1 nor always the same.
func hostPids() []pattern {
	return []pattern{
		{regexp.MustCompile(`(?m)^((?:status: )?(?:Tgid|Pid|PPid|NStgid|NSpid|NSpgid|NSsid):).*$`), "$1 N"},
		{regexp.MustCompile(`pid \d+'s`), "pid N's"},
	}
}

// normalise replaces what varies in a script's output.
func (tr *trial) normalise(output string, extra []pattern) string {
	output = strings.NewReplacer(tr.dir, "$DIR", tr.id, "$ID").Replace(output)
	for _, p := range append(volatile(), extra...) {
		output = p.text.ReplaceAllString(output, p.replacement)
	}
	output = markNamespaces(output, hostNamespaces())
	return numberMounts(output)
}

// hostNamespaces are the targets of /proc/self/ns, such as "mnt:[4026531841]".
func hostNamespaces() map[string]bool {
	host := map[string]bool{}
	entries, _ := os.ReadDir("/proc/self/ns")
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/ns/" + entry.Name()); err == nil {
			host[target] = true
		}
	}
	return host
}

var namespaceLink = regexp.MustCompile(`\b(cgroup|ipc|mnt|net|pid|time|user|uts):\[\d+\]`)

// markNamespaces writes whose a namespace is in place of its number.
func markNamespaces(output string, host map[string]bool) string {
	return namespaceLink.ReplaceAllStringFunc(output, func(link string) string {
		kind, _, _ := strings.Cut(link, ":")
		if host[link] {
			return kind + ":[host]"
		}
		return kind + ":[own]"
	})
}

var (
	mountLine = regexp.MustCompile(`(?m)^((?:\w+: )?)(\d+) (\d+) (\d+):(\d+) ([/$].*)$`)
	peerGroup = regexp.MustCompile(`\b(shared|master|propagate_from):(\d+)`)
)

// numberMounts replaces, in lines of mountinfo (proc_pid_mountinfo(5)), the ids
// of mounts, peer groups and anonymous devices by numbers in the order of their
// appearance: what belongs together still does.
func numberMounts(output string) string {
	mounts, peers, devices := numbering{}, numbering{}, numbering{}
	return mountLine.ReplaceAllStringFunc(output, func(line string) string {
		f := mountLine.FindStringSubmatch(line)
		device := f[4] + ":" + f[5]
		if f[4] == "0" {
			device = "0:" + devices.of(f[5])
		}
		rest := peerGroup.ReplaceAllStringFunc(f[6], func(group string) string {
			kind, id, _ := strings.Cut(group, ":")
			return kind + ":" + peers.of(id)
		})
		return fmt.Sprintf("%s%s %s %s %s", f[1], mounts.of(f[2]), mounts.of(f[3]), device, rest)
	})
}

// numbering counts what it has not seen before.
type numbering map[string]string

func (n numbering) of(id string) string {
	if n[id] == "" {
		n[id] = "#" + strconv.Itoa(len(n)+1)
	}
	return n[id]
}

func TestNormaliseReplacesWhatVariesAndNothingElse(t *testing.T) {
	tr := &trial{id: "sandboxrun-eq1-7r", dir: "/tmp/eq1-/7r"}
	cases := map[string]string{
		"created 2026-11-23T12:53:13.123456789Z":                      "created $TIME",
		"/tmp/eq1-/7r/bundle of sandboxrun-eq1-7r":                    "$DIR/bundle of $ID",
		"status: VmPeak:\t   1234 kB":                                 "status: VmPeak: N",
		"status: CapEff:\t0000000000000020":                           "status: CapEff:\t0000000000000020",
		"status: SigQ:\t2/96000":                                      "status: SigQ:\tN/96000",
		"0 pipe:[12345]":                                              "0 pipe:[N]",
		"mountinfo: 70 60 0:55 / / ro master:9 - ext4 /dev/vda rw":    "mountinfo: #1 #2 0:#1 / / ro master:#1 - ext4 /dev/vda rw",
		"mountinfo: 70 60 254:1 / / ro shared:9 - ext4 /dev/vda rw":   "mountinfo: #1 #2 254:1 / / ro shared:#1 - ext4 /dev/vda rw",
		"limits: Max open files            1024                 1024": "limits: Max open files            1024                 1024",
	}
	for before, want := range cases {
		if got := tr.normalise(before, nil); got != want {
			t.Errorf("normalise(%q) = %q, want %q", before, got, want)
		}
	}
	marked := markNamespaces("net net:[1] uts:[2]", map[string]bool{"net:[1]": true})
	if want := "net net:[host] uts:[own]"; marked != want {
		t.Errorf("markNamespaces = %q, want %q", marked, want)
	}
}
