package equivalence_test

import "regexp"

// lines matches whole lines.
func lines(expression string) *regexp.Regexp { return regexp.MustCompile("^(?:" + expression + ")$") }

// usageReason is why a wrong command line has a code of its own.
const usageReason = "a caller can tell a mistake in its command line, which no retry mends, from a failure. runc gives 1, 3 for an unknown command and 255 for `exec`."

// differences is the whole list; docs/compatibility.md is printed from it.
func differences() []difference {
	return []difference{
		{
			title:  "Exit code 2 for a wrong command line",
			reason: usageReason,
			cases: []string{
				"exec/additional group unreadable", "exec/two forms of a flag", "exec/unknown flag",
				"input/an unknown command", "input/an unknown flag", "input/an unknown log format", "input/no ID", "input/rootless neither yes nor no",
				"input/too many arguments", "lifecycle/kill by RTMIN", "lifecycle/kill by a signal that is none", "lifecycle/list in an unknown form",
				"pause/events unknown", "pause/features and arguments", "pause/pause and resume unknown", "pause/ps in an unknown form", "pause/ps unknown",
				"update/a number that is none", "update/an unknown flag", "update/unknown",
			},
			runc: lines(`exit (1|3|255)`), ours: lines(`exit 2`),
		},
		{
			title:  "A user ID that is too large is refused",
			reason: "runc takes 99999999999 for user 1215752191, the lower 32 bits of it.",
			cases:  []string{"exec/user unreadable"},
			runc:   lines(`uid=1215752191.*|exit 0`), ours: lines(`exit 255`),
		},
		{
			title:  "Exit codes 126 and 127 for a program that cannot be executed",
			reason: "127 where it is missing and 126 where it may not be executed, as a shell has it; from runc it is 1, or 255 where the kernel refuses late.",
			cases: []string{
				"input/an empty root filesystem", "lifecycle/create of a program that is missing",
				"process/environment without PATH", "process/program is a directory", "process/program missing*", "process/program not executable",
				"process/program without its interpreter",
			},
			runc: lines(`exit (1|255)`), ours: lines(`exit (126|127)`),
		},
		{
			title:  "Exit code 1 where a startContainer hook fails",
			reason: "the program was never tried, and 255 could be its own code.",
			cases:  []string{"hooks/startContainer fails"},
			runc:   lines(`exit 255`), ours: lines(`exit 1`),
		},
		{
			title:  "The cgroup of a bundle without cgroupsPath",
			reason: "it is named `sandboxrun-ID`, so that `gc` and people see whose it is.",
			cases:  []string{"limits/path by default"},
			runc:   lines(`/sys/fs/cgroup/.*/\$ID/.*`), ours: lines(`/sys/fs/cgroup/.*/sandboxrun-\$ID/.*`),
		},
		{
			title:  "What the specification forbids is refused",
			reason: "each error names the place in config.json. runc follows a relative path from the root or from where it stands, takes any version,: a mistake has no effect there, or another one than its author thinks.",
			cases: []string{
				"devices/relative path", "input/a version of another major", "input/a version that is none", "input/no version",
				"mounts/masked path relative",
			},
			runc: lines(`exit 0|ran|\$ID|data|/dev/what`), ours: lines(`exit 1`),
		},
		{
			title:  "A state root without containers is no error",
			reason: "`list` prints an empty table or `[]`. runc fails until the first container has made the directory.",
			cases:  []string{"input/a state root without containers", "lifecycle/list of nothing"},
			runc:   lines(`exit 1`), ours: lines(`exit 0|\[\]|ID +PID +STATUS +BUNDLE +CREATED +OWNER`),
		},
		{
			title:  "state names the owner",
			reason: "runc's `state` has the member, but only `list` fills it.",
			cases:  []string{"lifecycle/state of a container", "lifecycle/state of one that stopped"},
			runc:   lines(`  "owner": ""`), ours: lines(`  "owner": "root"`),
		},
		{
			title:  "features tells of this build",
			reason: "its version beside that of the libcontainer in it, and no commit of runc's. The annotation `bundle` is in runc's list of unsafe ones.",
			cases:  []string{"pause/features"},
			runc:   lines(`.*(runc\.commit|runc\.version).*| *"bundle",`), ours: lines(`.*(runc\.version|sandboxrun\.version).*`),
		},
		{
			title:  "ps of a container without processes is an empty array",
			reason: "`null` is no array of process IDs.",
			cases:  []string{"pause/ps of what stopped"},
			runc:   lines(`null`), ours: lines(`\[\]`),
		},
		{
			title:  "events ends with the container",
			reason: "on cgroup v1, runc's goes on for as long as nobody kills it.",
			cases:  []string{"pause/events until the end"},
			runc:   lines(`124`), ours: lines(`0`),
		},
		{
			title:  "A list of limits beside single ones is refused",
			reason: "runc passes over all flags of `update` beside --resources, and says that it succeeded.",
			cases:  []string{"update/from a file and by flags"},
			runc:   lines(`exit 0|.*pids\.max 14`), ours: lines(`exit 2|.*pids\.max 50`),
		},
		{
			title:  "A command beside --process is refused",
			reason: "runc passes over the command that it was asked to run.",
			cases:  []string{"exec/process file and arguments"},
			runc:   lines(`file|exit 0`), ours: lines(`exit 255`),
		},
		{
			title:  "A descriptor to pass on must be open",
			reason: "runc passes on what it has open itself under the number, here of the host's cgroups: the leak behind CVE-2024-21626.",
			cases:  []string{"exec/descriptors that are not open", "streams/descriptors that are not open"},
			runc:   lines(`\d .*|exit 0`), ours: lines(`exit (1|255)`),
		},
		{
			title:  "A terminal is there without one at the caller's side",
			reason: "`run` and `exec -t` from a service or a pipe work. runc wants /dev/tty.",
			cases:  []string{"exec/process with a terminal", "exec/terminal without one here", "streams/terminal without one here"},
			runc:   lines(`exit (1|255)`), ours: lines(`\d tty rows .*|exit 0`),
		},
		{
			title:  "A relative --console-socket starts at the working directory",
			reason: "as every other path of the command line, and as --pid-file does with runc. runc's console socket starts at the bundle.",
			cases:  []string{"exec/console socket by relative path", "streams/console socket by relative path", "streams/console socket by path relative to the bundle"},
			runc:   lines(`exit (0|1|255)`), ours: lines(`exit (0|1)`),
		},
		{
			title:  "A service manager that is not there is an error",
			reason: "NOTIFY_SOCKET names a socket that nobody listens at, so that the program's readiness would reach nobody. runc says nothing.",
			cases:  []string{"streams/NOTIFY_SOCKET that is missing"},
			runc:   lines(`/run/notify/notify\.sock|notify\.sock|exit 0`), ours: lines(`exit 1`),
		},
		{
			title:  "--additional-gids counts once",
			reason: "runc sets a group twice that the long form of the flag names.",
			cases:  []string{"exec/additional groups"},
			runc:   lines(`.*groups=60,60`), ours: lines(`.*groups=60`),
		},
		{
			title:  "Hooks see the status that the specification names",
			reason: "a prestart hook runs in a created container and a poststart hook after the program has started; the validation suite of runtime-tools asks for it and crun does the same. runc says creating and created, and runs poststart hooks before the program, by `create` already.",
			cases:  []string{"hooks/order and status", "hooks/order when created, started and deleted", "hooks/poststart fails", "hooks/prestart fails", "hooks/state on stdin"},
			runc:   lines(`poststart zero one|  status (creating|created)|\{.*"status":"(creating|created)".*`), ours: lines(`poststart zero one|  status (created|running)|\{.*"status":"(created|running)".*`),
		},
		{
			title:  "A poststop hook that fails does not keep the others from running",
			reason: "runtime-spec, config.md: an error is a warning, and the remaining hooks run.",
			cases:  []string{"hooks/poststop fails"},
			ours:   lines(`poststop zero one|  status stopped`),
		},
		{
			title:  "spec writes a default seccomp profile and a cgroup namespace",
			reason: "a new bundle is a sandbox from the start: moby's profile, the namespace on cgroup v1 too, and a hostname of our own. The file ends with a newline.",
			cases:  []string{"input/spec", "input/spec rootless", "input/spec content"},
			runc:   lines(`\t"hostname": "runc",`), ours: lines(`|\.linux\.seccomp.*|\t"hostname": "sandboxrun",|\t{3}[{}],?|\t{4}"type": "cgroup"`),
		},
	}
}
