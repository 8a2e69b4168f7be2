package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// suite is the Debian release the guest is made of.
const suite = "bookworm"

// aptTargetFormat is what indexTargets parses: one package index a line.
const aptTargetFormat = "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"

// aptSource is one suite of a package mirror.
type aptSource struct {
	uri   string
	suite string
}

// hostSources returns where the host's own apt gets Debian from, as sources
// of the guest's suite; none on a host that isn't Debian, or has no apt.
func hostSources() []aptSource {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil
	}
	out, err := exec.Command("apt-get", "indextargets", "--format", aptTargetFormat, "Created-By: Packages").Output()
	if err != nil {
		return nil
	}
	return debianSources(string(out))
}

// debianSources picks the Debian mirrors out of apt's index targets (lines of
// aptTargetFormat). A host of another Debian release has the same mirrors
// under another suite's name, so that only the suite is replaced. The first
// source is the one for the suite itself; without it the result is empty.
func debianSources(targets string) []aptSource {
	mirrors := map[string]string{}
	for line := range strings.Lines(targets) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) != 4 || fields[0] != "Debian" || fields[2] != "main" {
			continue
		}
		_, pocket, _ := strings.Cut(fields[1], "-")
		switch pocket {
		case "", "updates", "security":
			if _, found := mirrors[pocket]; !found {
				mirrors[pocket] = fields[3]
			}
		}
	}
	if mirrors[""] == "" {
		return nil
	}
	sources := []aptSource{{uri: mirrors[""], suite: suite}}
	for _, pocket := range []string{"updates", "security"} {
		if mirrors[pocket] != "" {
			sources = append(sources, aptSource{uri: mirrors[pocket], suite: suite + "-" + pocket})
		}
	}
	return sources
}

// sourcesList returns sources in the form of sources.list(5).
func sourcesList(sources []aptSource) string {
	var list strings.Builder
	for _, source := range sources {
		fmt.Fprintf(&list, "deb %s %s main\n", source.uri, source.suite)
	}
	return list.String()
}

// aptTransportSetting matches the settings of the host's apt that say how a
// mirror is reached and whether old snapshots of one are accepted.
var aptTransportSetting = regexp.MustCompile(`^Acquire::(https?::Proxy|Check-Valid-Until|Retries)[: ]`)

// hostAptConf returns those settings of the host's apt in the form of
// apt.conf(5); empty on a host without apt.
func hostAptConf() string {
	if _, err := exec.LookPath("apt-config"); err != nil {
		return ""
	}
	out, err := exec.Command("apt-config", "dump").Output()
	if err != nil {
		return ""
	}
	return transportSettings(string(out))
}

// transportSettings picks from the output of apt-config dump.
func transportSettings(dump string) string {
	var conf strings.Builder
	for line := range strings.Lines(dump) {
		if aptTransportSetting.MatchString(line) {
			conf.WriteString(line)
		}
	}
	return conf.String()
}
