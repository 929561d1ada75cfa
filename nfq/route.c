/*
 * route - see route.h.
 *
 * libmnl: one RTM_GETROUTE, answered at once.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: rules of policy routing that ask for more
 * than the destination are not followed.
 */
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "nfq/route.h"

#define BYTES 8192

static int read_attribute(const struct nlattr *attr, void *arg)
{
	unsigned *index = arg;
	if (mnl_attr_get_type(attr) == RTA_OIF && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
		*index = mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

static int read_route(const struct nlmsghdr *nlh, void *arg)
{
	if (nlh->nlmsg_type == RTM_NEWROUTE &&
	    mnl_nlmsg_get_payload_len(nlh) >= sizeof(struct rtmsg))
		(void)mnl_attr_parse(nlh, sizeof(struct rtmsg), read_attribute, arg);
	return MNL_CB_STOP;
}

static unsigned ask(struct mnl_socket *nl, const struct addr *a)
{
	char buf[BYTES];
	unsigned index = 0;
	bool is4 = addr_is4(a);
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = 1;
	struct rtmsg *r = mnl_nlmsg_put_extra_header(nlh, sizeof *r);
	r->rtm_family = is4 ? AF_INET : AF_INET6;
	r->rtm_dst_len = is4 ? 32 : 128;
	mnl_attr_put(nlh, RTA_DST, is4 ? 4 : 16, is4 ? (const void *)addr_v4(a) : a->b);
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return 0;
	ssize_t got = mnl_socket_recvfrom(nl, buf, sizeof buf);
	if (got <= 0 || mnl_cb_run(buf, (size_t)got, 1, mnl_socket_get_portid(nl), read_route,
				   &index) == MNL_CB_ERROR)
		return 0;
	return index;
}

unsigned route_interface(const struct addr *a)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	unsigned index = 0;
	if (nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0)
		index = ask(nl, a);
	if (nl)
		(void)mnl_socket_close(nl);
	return index;
}
