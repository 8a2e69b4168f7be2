package compose

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// effects has, for every key that works or differs, something that says it: lines of service a, or of the file's top where
// they begin with "top ". The service has what is there already.
var effects = map[string]string{
	"include":                                         "top include: [included.yaml]",
	"name":                                            "top name: other",
	"services.*.annotations":                          "annotations: {k: v}",
	"services.*.attach":                               "attach: false",
	"services.*.cap_add":                              "cap_add: [SYS_NICE]",
	"services.*.cap_drop":                             "cap_drop: [ALL]",
	"services.*.command":                              "command: [run]",
	"services.*.configs":                              "configs: [c]",
	"services.*.configs.[].gid":                       "configs: [{source: c, gid: '5'}]",
	"services.*.configs.[].mode":                      "configs: [{source: c, mode: 0400}]",
	"services.*.configs.[].source":                    "configs: [{source: c}]",
	"services.*.configs.[].target":                    "configs: [{source: c, target: /other}]",
	"services.*.configs.[].uid":                       "configs: [{source: c, uid: '5'}]",
	"services.*.container_name":                       "container_name: other",
	"services.*.cpu_period":                           "{cpu_quota: 100000, cpu_period: 50000}",
	"services.*.cpu_quota":                            "cpu_quota: 50000",
	"services.*.cpu_shares":                           "cpu_shares: 512",
	"services.*.cpus":                                 "cpus: 0.1",
	"services.*.cpuset":                               "cpuset: '0'",
	"services.*.depends_on":                           "depends_on: [b]",
	"services.*.depends_on.*.condition":               "depends_on: {b: {condition: service_healthy}}",
	"services.*.depends_on.*.required":                "depends_on: {b: {condition: service_started, required: false}}",
	"services.*.depends_on.*.restart":                 "depends_on: {b: {condition: service_started, restart: true}}",
	"services.*.deploy.endpoint_mode":                 "", // names always resolve to all addresses
	"services.*.deploy.mode":                          "", // what is not refused is one or the other number of replicas
	"services.*.deploy.replicas":                      "deploy: {replicas: 3}",
	"services.*.deploy.resources.limits.cpus":         "deploy: {resources: {limits: {cpus: '0.3'}}}",
	"services.*.deploy.resources.limits.memory":       "deploy: {resources: {limits: {memory: 64M}}}",
	"services.*.deploy.resources.limits.pids":         "deploy: {resources: {limits: {pids: 64}}}",
	"services.*.deploy.resources.reservations.memory": "deploy: {resources: {reservations: {memory: 64M}}}",
	"services.*.deploy.restart_policy.condition":      "deploy: {restart_policy: {condition: on-failure}}",
	"services.*.deploy.restart_policy.delay":          "deploy: {restart_policy: {delay: 7s}}",
	"services.*.deploy.restart_policy.max_attempts":   "deploy: {restart_policy: {max_attempts: 7}}",
	"services.*.deploy.restart_policy.window":         "deploy: {restart_policy: {window: 7s}}",
	"services.*.dns":                                  "dns: 1.1.1.1",
	"services.*.dns_opt":                              "dns_opt: [ndots:1]",
	"services.*.dns_search":                           "dns_search: example.org",
	"services.*.domainname":                           "domainname: example.org",
	"services.*.entrypoint":                           "entrypoint: run it",
	"services.*.env_file":                             "env_file: a.env",
	"services.*.env_file.[].path":                     "env_file: [{path: a.env}]",
	"services.*.env_file.[].required":                 "", // TestBadInput
	"services.*.environment":                          "environment: {A: b}",
	"services.*.expose":                               "", // every port can be reached
	"services.*.extends":                              "extends: {file: included.yaml, service: included}",
	"services.*.extra_hosts":                          "extra_hosts: ['h=10.0.0.1']",
	"services.*.group_add":                            "group_add: [audio]",
	"services.*.healthcheck.disable":                  "healthcheck: {disable: true}",
	"services.*.healthcheck.interval":                 "healthcheck: {interval: 7s}",
	"services.*.healthcheck.retries":                  "healthcheck: {retries: 7}",
	"services.*.healthcheck.start_interval":           "healthcheck: {start_interval: 7s}",
	"services.*.healthcheck.start_period":             "healthcheck: {start_period: 7s}",
	"services.*.healthcheck.test":                     "healthcheck: {test: a line}",
	"services.*.healthcheck.timeout":                  "healthcheck: {timeout: 7s}",
	"services.*.hostname":                             "hostname: h",
	"services.*.image":                                "image: other",
	"services.*.init":                                 "init: true",
	"services.*.ipc":                                  "ipc: service:b",
	"services.*.label_file":                           "label_file: a.env",
	"services.*.labels":                               "labels: [a=b]",
	"services.*.links":                                "links: ['b:c']",
	"services.*.mac_address":                          "mac_address: 02:42:ac:11:00:02",
	"services.*.mem_limit":                            "mem_limit: 64m",
	"services.*.mem_reservation":                      "mem_reservation: 64m",
	"services.*.memswap_limit":                        "{mem_limit: 64m, memswap_limit: 128m}",
	"services.*.logging.driver":                       "logging: {driver: none}",
	"services.*.logging.options":                      "logging: {options: {max-size: 1m}}",
	"services.*.network_mode":                         "network_mode: none",
	"services.*.networks":                             "networks: [n]",
	"services.*.networks.*.aliases":                   "networks: {n: {aliases: [z]}}",
	"services.*.networks.*.interface_name":            "networks: {n: {interface_name: z}}",
	"services.*.networks.*.ipv4_address":              "networks: {n: {ipv4_address: 10.89.1.77}}",
	"services.*.networks.*.ipv6_address":              "networks: {six: {ipv6_address: 'fd73:6278:7200::77'}}",
	"services.*.networks.*.mac_address":               "networks: {n: {mac_address: 02:42:ac:11:00:02}}",
	"services.*.networks.*.priority":                  "networks: {n: {priority: 1}, six: {priority: 2}}",
	"services.*.networks.*.use_service_name_alias":    "networks: {n: {use_service_name_alias: false}}",
	"services.*.oom_score_adj":                        "oom_score_adj: 7",
	"services.*.pid":                                  "pid: service:b",
	"services.*.pids_limit":                           "pids_limit: 7",
	"services.*.platform":                             "platform: linux/arm64",
	"services.*.ports":                                "ports: ['80']",
	"services.*.ports.[].host_ip":                     "ports: [{target: 80, host_ip: 127.0.0.1}]",
	"services.*.ports.[].mode":                        "", // both are the same
	"services.*.ports.[].name":                        "ports: [{target: 80, name: z}]",
	"services.*.ports.[].protocol":                    "ports: [{target: 80, protocol: udp}]",
	"services.*.ports.[].published":                   "ports: [{target: 80, published: 8000-8001}]",
	"services.*.ports.[].target":                      "ports: [{target: 80}]",
	"services.*.post_start.[].command":                "post_start: [{command: [z]}]",
	"services.*.post_start.[].environment":            "post_start: [{command: [z], environment: [A=b]}]",
	"services.*.post_start.[].privileged":             "post_start: [{command: [z], privileged: true}]",
	"services.*.post_start.[].user":                   "post_start: [{command: [z], user: z}]",
	"services.*.post_start.[].working_dir":            "post_start: [{command: [z], working_dir: /z}]",
	"services.*.pre_start.[].command":                 "pre_start: [{command: [z]}]",
	"services.*.pre_start.[].environment":             "pre_start: [{command: [z], environment: [A=b]}]",
	"services.*.pre_start.[].image":                   "pre_start: [{command: [z], image: z}]",
	"services.*.pre_start.[].per_replica":             "pre_start: [{command: [z], per_replica: true}]",
	"services.*.pre_start.[].privileged":              "pre_start: [{command: [z], privileged: true}]",
	"services.*.pre_start.[].user":                    "pre_start: [{command: [z], user: z}]",
	"services.*.pre_start.[].working_dir":             "pre_start: [{command: [z], working_dir: /z}]",
	"services.*.pre_stop.[].command":                  "pre_stop: [{command: [z]}]",
	"services.*.pre_stop.[].environment":              "pre_stop: [{command: [z], environment: [A=b]}]",
	"services.*.pre_stop.[].privileged":               "pre_stop: [{command: [z], privileged: true}]",
	"services.*.pre_stop.[].user":                     "pre_stop: [{command: [z], user: z}]",
	"services.*.pre_stop.[].working_dir":              "pre_stop: [{command: [z], working_dir: /z}]",
	"services.*.profiles":                             "profiles: [z]",
	"services.*.pull_policy":                          "pull_policy: always",
	"services.*.read_only":                            "read_only: true",
	"services.*.restart":                              "restart: always",
	"services.*.scale":                                "scale: 2",
	"services.*.secrets":                              "secrets: [s]",
	"services.*.secrets.[].gid":                       "secrets: [{source: s, gid: '5'}]",
	"services.*.secrets.[].mode":                      "secrets: [{source: s, mode: 0444}]",
	"services.*.secrets.[].source":                    "secrets: [{source: s}]",
	"services.*.secrets.[].target":                    "secrets: [{source: s, target: z}]",
	"services.*.secrets.[].uid":                       "secrets: [{source: s, uid: '5'}]",
	"services.*.security_opt":                         "security_opt: ['no-new-privileges:false']",
	"services.*.shm_size":                             "shm_size: 64m",
	"services.*.stop_grace_period":                    "stop_grace_period: 7s",
	"services.*.stop_signal":                          "stop_signal: SIGQUIT",
	"services.*.sysctls":                              "sysctls: [net.core.somaxconn=7]",
	"services.*.tmpfs":                                "tmpfs: /z",
	"services.*.tty":                                  "tty: true",
	"services.*.ulimits":                              "ulimits: {nofile: 7}",
	"services.*.user":                                 "user: z",
	"services.*.volumes":                              "volumes: ['.:/z']",
	"services.*.volumes.[].bind":                      "volumes: [{type: bind, source: ., target: /z, bind: {}}]",
	"services.*.volumes.[].bind.create_host_path":     "", // TestBadInput: nothing is made
	"services.*.volumes.[].bind.propagation":          "volumes: [{type: bind, source: ., target: /z, bind: {propagation: rslave}}]",
	"services.*.volumes.[].bind.recursive":            "", // what is not refused is the default
	"services.*.volumes.[].read_only":                 "volumes: [{type: bind, source: ., target: /z, read_only: true}]",
	"services.*.volumes.[].source":                    "volumes: [{type: volume, source: v, target: /z}]",
	"services.*.volumes.[].target":                    "volumes: [{type: volume, source: v, target: /y}]",
	"services.*.volumes.[].tmpfs.mode":                "volumes: [{type: tmpfs, target: /z, tmpfs: {mode: 0755}}]",
	"services.*.volumes.[].tmpfs.size":                "volumes: [{type: tmpfs, target: /z, tmpfs: {size: 64m}}]",
	"services.*.volumes.[].type":                      "volumes: [{type: tmpfs, target: /z}]",
	"services.*.volumes.[].volume.nocopy":             "volumes: [{type: volume, source: v, target: /z, volume: {nocopy: true}}]",
	"services.*.volumes.[].volume.subpath":            "volumes: [{type: volume, source: v, target: /z, volume: {subpath: z}}]",
	"services.*.working_dir":                          "working_dir: /z",
	"networks.*.driver":                               "", // what is not refused is the default
	"networks.*.driver_opts":                          "top networks: {default: {driver_opts: {com.docker.network.driver.mtu: 1400}}}",
	"networks.*.enable_ipv4":                          "", // what is not refused is the default
	"networks.*.enable_ipv6":                          "top networks: {default: {enable_ipv6: true}}",
	"networks.*.internal":                             "top networks: {default: {internal: true}}",
	"networks.*.ipam.config":                          "top networks: {default: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}",
	"networks.*.ipam.config.[].aux_addresses":         "top networks: {default: {ipam: {config: [{subnet: 10.89.0.0/24, aux_addresses: {x: 10.89.0.2}}]}}}",
	"networks.*.ipam.config.[].gateway":               "top networks: {default: {ipam: {config: [{subnet: 10.89.0.0/24, gateway: 10.89.0.2}]}}}",
	"networks.*.ipam.config.[].ip_range":              "top networks: {default: {ipam: {config: [{subnet: 10.89.0.0/24, ip_range: 10.89.0.128/25}]}}}",
	"networks.*.ipam.config.[].subnet":                "top networks: {default: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}",
	"networks.*.ipam.driver":                          "", // what is not refused is the default
	"volumes.*.driver":                                "", // what is not refused is the default
	"volumes.*.driver_opts":                           "volumes: ['memory:/z']",
	"secrets.*.environment":                           "secrets: [variable]",
	"secrets.*.file":                                  "secrets: [s]",
	"configs.*.content":                               "configs: [c]",
	"configs.*.environment":                           "configs: [variable]",
	"configs.*.file":                                  "configs: [file]",
}

// rest are what the services of the files above need.
const rest = `
networks: {n: {}, six: {enable_ipv6: true}}
volumes: {v: {}, memory: {driver_opts: {type: tmpfs}}}
secrets: {s: {file: a.env}, variable: {environment: HOME}}
configs: {c: {content: z}, variable: {environment: HOME}, file: {file: a.env}}
`

// TestEveryKeyThatWorksHasAnEffect loads a file with each key and without, and compares the plans.
func TestEveryKeyThatWorksHasAnEffect(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.env": "A=b\n", "included.yaml": "services: {included: {image: z, user: z}}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := planOf(t, dir, "", "")
	for _, a := range attributes {
		text, there := effects[a.path]
		if a.status == works || a.status == differs {
			if !there && !isContainer(a.path) {
				t.Errorf("%s has no effect to try", a.path)
			}
		} else if there {
			t.Errorf("%s is %s and has an effect", a.path, a.status)
		}
		if text == "" {
			continue
		}
		t.Run(a.path, func(t *testing.T) {
			top, isTop := strings.CutPrefix(text, "top ")
			var after string
			if isTop {
				after = planOf(t, dir, top, "")
			} else {
				after = planOf(t, dir, "", text)
			}
			_, last := cutLast(a.path)
			if after == before {
				t.Errorf("%s changes nothing: %s", last, text)
			}
		})
	}
}

// isContainer tells of keys that have nothing but other keys, which have effects.
func isContainer(path string) bool {
	for _, a := range attributes {
		if parent, _ := cutLast(a.path); parent == path || strings.HasPrefix(a.path, path+".[].") {
			return true
		}
	}
	return strings.HasSuffix(path, ".*")
}

// planOf is the plan as JSON, with lines at the top, and of service a.
func planOf(t *testing.T, dir, top, service string) string {
	t.Helper()
	// What merges are mappings: service a has its image, over which comes what is tried.
	merged := "{" + strings.Trim(service, "{}") + "}"
	if !strings.HasPrefix(service, "{") {
		merged = "{" + service + "}"
	}
	body := rest
	if strings.HasPrefix(top, "networks:") {
		body = strings.Replace(body, "networks: {n: {}, six: {enable_ipv6: true}}\n", "", 1)
	}
	first := top + "\nservices: {a: {image: x}, b: {image: x}}\n" + body
	second := "services: {a: " + merged + "}\n"
	o := Options{Dir: dir, Environ: []string{"HOME=/root"}}
	for i, text := range []string{first, second} {
		file := filepath.Join(t.TempDir(), []string{"first.yaml", "second.yaml"}[i])
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		o.Files = append(o.Files, file)
	}
	p, ignored, err := Load(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, first, second)
	}
	if len(ignored) > 0 {
		t.Errorf("it has no effect: %v", ignored)
	}
	p.Files = nil
	out, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
