package hostroot

import (
	"slices"
	"strings"
)

// How is the way something is hidden.
type How string

// The ways of hiding.
const (
	// Absent: it is not there at all.
	Absent How = "absent"
	// EmptyDir: the directory is there, with its mode and owner, and empty.
	EmptyDir How = "empty directory"
	// EmptyTmp: as EmptyDir, with mode 1777.
	EmptyTmp How = "empty directory for all"
)

// Hidden is one thing that is hidden.
type Hidden struct {
	// Path is absolute and clean; its last component may be a pattern of path.Match.
	Path string `json:"path"`
	How  How    `json:"how"`
	// Why is a clause for people.
	Why string `json:"why"`
}

// hiddenGroups are paths by the reason they are hidden.
var hiddenGroups = []struct {
	how   How
	why   string
	paths string
}{
	{EmptyDir, "the kernel's and the sandbox's own", "/dev /proc /sys /run"},
	{EmptyDir, "users' files and keys", "/home /root"},
	{EmptyDir, "data of this host", "/srv /mnt /media /boot /efi"},
	{EmptyTmp, "other programs' temporary files", "/tmp /var/tmp"},
	{EmptyDir, "logs, mail and jobs of this host", "/var/log /var/spool /var/mail /var/crash /var/backups"},
	{Absent, "remains and swap of this host", "/lost+found /swapfile /swap.img /.autorelabel /.dockerenv /.snapshots"},
	{Absent, "passwords of this host's users", "/etc/shadow* /etc/gshadow* /etc/.pwd.lock /etc/security/opasswd /etc/sudoers /etc/sudoers.d " +
		"/etc/sudo.conf /etc/sudo_logsrvd.conf /etc/master.passwd /etc/passwd- /etc/group- /etc/subuid- /etc/subgid-"},
	{Absent, "ssh keys of this host", "/etc/ssh/ssh_host_* /etc/dropbear"},
	{EmptyDir, "private keys", "/etc/ssl/private /etc/pki/tls/private /etc/letsencrypt /etc/ipsec.d/private /etc/swanctl/private /etc/luks-keys /etc/cryptsetup-keys.d"},
	{Absent, "keys and passwords of this host's network", "/etc/wireguard /etc/openvpn /etc/ipsec.secrets /etc/ppp/*-secrets /etc/wpa_supplicant /etc/netplan " +
		"/etc/NetworkManager/system-connections /etc/tailscale /etc/zerotier-one"},
	{Absent, "keytabs and directory passwords", "/etc/*.keytab /etc/krb5kdc /etc/sssd /etc/ldap.secret /etc/pam_ldap.secret /etc/libnss-ldap.secret /etc/nslcd.conf /etc/samba"},
	{Absent, "credentials of package sources", "/etc/apt/auth.conf /etc/apt/auth.conf.d /var/cache/debconf"},
	{Absent, "credentials of daemons", "/etc/docker /etc/containers/auth.json /etc/kubernetes /etc/rancher /etc/etcd /etc/vault.d /etc/consul.d /etc/nomad.d " +
		"/etc/mysql/debian.cnf /etc/postfix/sasl_passwd* /etc/exim4/passwd.client /etc/msmtprc /etc/ssmtp /etc/davfs2 /etc/cifs-credentials /etc/crypttab /etc/iscsi " +
		"/etc/credstore /etc/credstore.encrypted /etc/sandboxrun /etc/rclone.conf /etc/restic /etc/borgmatic"},
	{Absent, "credentials of clouds", "/etc/boto.cfg /etc/aws /etc/gcloud /etc/google /etc/azure /etc/cloud /etc/amazon /etc/waagent.conf /var/lib/cloud /var/lib/amazon " +
		"/var/lib/google /var/lib/waagent"},
	{Absent, "containers and machines of this host", "/var/lib/docker /var/lib/docker-engine /var/lib/containerd /var/lib/containers /var/lib/sandboxrun /var/lib/buildkit " +
		"/var/lib/kubelet /var/lib/kubernetes /var/lib/rancher /var/lib/k0s /var/lib/microk8s /var/lib/etcd /var/lib/cni /var/lib/lxc /var/lib/lxd /var/lib/incus " +
		"/var/lib/libvirt /var/lib/machines /var/lib/portables /var/lib/nomad /var/lib/swtpm-localca"},
	{Absent, "databases of this host", "/var/lib/mysql* /var/lib/mariadb /var/lib/postgresql /var/lib/pgsql /var/lib/redis /var/lib/valkey /var/lib/mongo* /var/lib/elasticsearch " +
		"/var/lib/opensearch /var/lib/influxdb* /var/lib/clickhouse /var/lib/cassandra /var/lib/couchdb /var/lib/neo4j /var/lib/rabbitmq /var/lib/kafka /var/lib/zookeeper " +
		"/var/lib/ldap /var/lib/slapd /var/lib/krb5kdc /var/lib/memcached /var/lib/minio /var/lib/ceph /var/lib/glusterd /var/lib/prometheus /var/lib/grafana /var/lib/loki"},
	{Absent, "state and keys of daemons", "/var/lib/vault /var/lib/consul /var/lib/jenkins /var/lib/gitlab* /var/lib/gitea /var/lib/forgejo /var/lib/samba /var/lib/sss /var/lib/bluetooth " +
		"/var/lib/NetworkManager /var/lib/tailscale /var/lib/zerotier-one /var/lib/AccountsService /var/lib/gdm3 /var/lib/lightdm /var/lib/sddm /var/lib/private " +
		"/var/lib/systemd /var/lib/dhcp* /var/lib/sudo /var/lib/tor /var/lib/acme /var/lib/nfs /var/lib/iscsi /var/lib/tpm* /var/lib/snapd /var/lib/dovecot /var/lib/postfix " +
		"/var/lib/exim4 /var/lib/unbound /var/lib/bind /var/lib/openvpn /var/lib/fprint /var/lib/polkit-1 /var/lib/shim-signed"},
}

// Default returns what is hidden of every host, sorted by path. The slice is the
// caller's.
func Default() []Hidden {
	var hidden []Hidden
	for _, group := range hiddenGroups {
		for path := range strings.FieldsSeq(group.paths) {
			hidden = append(hidden, Hidden{Path: path, How: group.how, Why: group.why})
		}
	}
	slices.SortFunc(hidden, func(a, b Hidden) int { return strings.Compare(a.Path, b.Path) })
	return hidden
}
