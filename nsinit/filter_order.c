//go:build seccomp

/*
 * libcontainer asks libseccomp to order a filter as a binary tree, which makes
 * compiling the default profile, at every start, half as long again. Since
 * Linux 5.11 the kernel itself remembers which system calls a filter always
 * allows and does not run it for them (CONFIG_SECCOMP_FILTER, the action cache
 * of kernel/seccomp.c), so there the order no longer matters. What the filter
 * decides is the same in either order. The linker sends libcontainer's call here
 * (--wrap in filter_order.go).
 */
#include <seccomp.h>
#include <stdio.h>
#include <sys/utsname.h>

int __real_seccomp_attr_set(scmp_filter_ctx ctx, enum scmp_filter_attr attr, uint32_t value);
int __wrap_seccomp_attr_set(scmp_filter_ctx ctx, enum scmp_filter_attr attr, uint32_t value);

static int kernel_caches_actions(void)
{
	struct utsname kernel;
	int major, minor;

	if (uname(&kernel) != 0 || sscanf(kernel.release, "%d.%d", &major, &minor) != 2)
		return 0;
	return major > 5 || (major == 5 && minor >= 11);
}

int __wrap_seccomp_attr_set(scmp_filter_ctx ctx, enum scmp_filter_attr attr, uint32_t value)
{
	if (attr == SCMP_FLTATR_CTL_OPTIMIZE && kernel_caches_actions())
		return 0;
	return __real_seccomp_attr_set(ctx, attr, value);
}
