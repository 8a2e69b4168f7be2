package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

// What withOutside has beside the command's own address, outsideGateway.
const (
	outsideGateway = "203.0.113.1/24"
	outsideFirst   = "203.0.113.2"
	outsideSecond  = "203.0.113.3"
)

// withOutside runs a command on a host that is none: in a network namespace with one
// neighbour, 203.0.113.2 and .3, whose web servers say where they were reached, and
// who, asked from, and which resolves the names below example.com and example.net to
// the first and second. Nothing of the machine's own network is touched.
func withOutside() {
	code, err := runWithOutside(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "with-outside:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func runWithOutside(args []string) (code int, err error) {
	// The command is started by this thread, and is where it is.
	goruntime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return 0, os.NewSyscallError("unshare", err)
	}
	if err := bindResolvConf(); err != nil {
		return 0, err
	}
	stack, err := network.Open()
	if err != nil {
		return 0, err
	}
	if err := stack.AddBridge(network.Bridge{Name: "lan", Addresses: networktest.Prefixes(outsideGateway)}); err != nil {
		return 0, err
	}
	outside, err := network.NewNamespace()
	if err != nil {
		return 0, err
	}
	neighbour := network.Interface{Name: "eth0", Bridge: "lan", Addresses: networktest.Prefixes(outsideFirst+"/24", outsideSecond+"/24")}
	if err := stack.Attach(outside, neighbour); err != nil {
		return 0, err
	}
	if err := networktest.Inside(outside, serveOutside); err != nil {
		return 0, err
	}
	command := exec.Command(args[0], args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = command.Run()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return ended.ExitCode(), nil
	}
	return 0, err
}

// bindResolvConf names the neighbour as the resolver, for this mount namespace.
func bindResolvConf() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount / private", err)
	}
	file, err := os.CreateTemp("", "resolv.conf-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := fmt.Fprintf(file, "nameserver %s\n", outsideFirst); err != nil {
		return err
	}
	if err := unix.Mount(file.Name(), "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("mount /etc/resolv.conf", err)
	}
	return nil
}

// serveOutside serves until this process ends; the sockets are of the thread's network namespace.
func serveOutside() error {
	for _, address := range []string{outsideFirst, outsideSecond} {
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", net.JoinHostPort(address, "80"))
		if err != nil {
			return err
		}
		server := http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			io.WriteString(w, address+" was asked from "+host+"\n") //nolint:errcheck // who asks sees it
		})}
		go server.Serve(listener) //nolint:errcheck // it ends with the process
	}
	conn, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp4", net.JoinHostPort(outsideFirst, "53"))
	if err != nil {
		return err
	}
	server := dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answerOutside)}
	go server.ActivateAndServe() //nolint:errcheck // the same
	return nil
}

func answerOutside(w dns.ResponseWriter, question *dns.Msg) {
	answer := new(dns.Msg).SetReply(question)
	name := strings.ToLower(question.Question[0].Name)
	address := ""
	switch {
	case strings.HasSuffix(name, ".example.com."):
		address = outsideFirst
	case strings.HasSuffix(name, ".example.net."):
		address = outsideSecond
	default:
		answer.Rcode = dns.RcodeNameError
	}
	if address != "" && question.Question[0].Qtype == dns.TypeA {
		answer.Answer = append(answer.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: question.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(address),
		})
	}
	w.WriteMsg(answer) //nolint:errcheck // who asked asks again
}

// loseInterface deletes the interface whose name begins with its argument.
func loseInterface() {
	links, err := netlink.LinkList()
	for _, link := range links {
		if strings.HasPrefix(link.Attrs().Name, os.Args[1]) {
			err = errors.Join(err, netlink.LinkDel(link))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lose-interface:", err)
		os.Exit(1)
	}
}
