/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From parameters that fit the methods table to a session that the supervisor is asked to make. All that can be refused
 * is refused before anything exists.
 */
#include <stdio.h>
#include <sys/random.h>

#include "control/command.h"
#include "control/lifecycle.h"
#include "control/session_create.h"
#include "control/session_limits.h"
#include "control/session_methods.h"
#include "control/visibility.h"

/* A request as it is understood. Strings are borrowed from the parameters. */
struct create {
	struct lifecycle *lifecycle;
	struct call *call;
	const json_t *params;
	const struct caller *caller;
	const struct wanted *wanted; /* NULL: session.create */
	const struct template *template;
	const char *owner, *egress;
	char id[NAME_SIZE];
	struct limits limits;
	uint64_t ttl_ns;
	uint8_t fingerprint[SHA256_SIZE];
	char *key; /* "uid:idempotency_key"; NULL: none was given */
	enum wait_for wait_for;
	struct volume_choices volumes;
};

enum { REGISTRY_RETRY_MS = 1000 };

static const char *param_string(const struct create *create, const char *name)
{
	return json_string_value(json_object_get(create->params, name));
}

/* ---- the same request again ---- */

/*
 * A digest of the parameters, but for the values of secrets, of which not even that is kept: the same key with the
 * same request and another secret is the same request.
 */
static int take_fingerprint(struct create *create)
{
	json_t *copy = json_copy((json_t *)(uintptr_t)create->params), *names = json_array();
	const json_t *secrets = json_object_get(copy, "secrets");
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)secrets, name, value)
		json_array_append_new(names, json_string(name));
	json_object_set_new(copy, "secrets", names);
	if (create->wanted)
		json_object_set_new(copy, "method", json_string("session.ensure"));
	_free_ char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(copy);
	if (!text)
		return -ENOMEM;
	sha256(text, strlen(text), create->fingerprint);
	return 0;
}

static int read_key(struct create *create)
{
	const char *key = param_string(create, "idempotency_key");

	if (!key)
		return 0;
	if (asprintf(&create->key, "%u:%s", create->caller->uid, key) < 0) {
		create->key = NULL;
		return -ENOMEM;
	}
	return take_fingerprint(create);
}

/* Answers with the session that the same key made before. True when there is one. */
static bool answer_again(struct create *create)
{
	struct index_node *node = create->key ? index_find(&create->lifecycle->by_key, create->key) : NULL;

	if (!node)
		return false;
	struct session *session = container_of(node, struct session, by_key);
	if (memcmp(session->record.fingerprint, create->fingerprint, SHA256_SIZE) != 0) {
		struct error_details details = { .path = "idempotency_key" };
		call_fail(create->call, E_CONFLICT, false, &details,
			"idempotency_key: was used before, with other parameters");
		return true;
	}
	/* The same session.ensure again looks for the same place. */
	if (create->wanted)
		return false;
	/* One that has ended is what that request came to. */
	if (session_is_live(session))
		session_wait(session, create->call, create->wait_for, NEVER,
			session->record.ready_at_ns == NEVER ? WAITER_CREATED : 0);
	else
		call_reply(create->call, session_json(session));
	return true;
}

/* ---- what may be refused; each answers the call and returns a negative errno ---- */

static int check_template(struct create *create)
{
	const char *name = param_string(create, "template");

	create->template = config_template(lifecycle_config(create->lifecycle), name);
	if (create->template)
		return 0;
	call_fail(create->call, E_NOT_FOUND, false, &(struct error_details){ .path = "template" },
		"template: there is no template %s", name);
	return -ENOENT;
}

static int check_owner(struct create *create)
{
	const char *owner = create->wanted ? create->wanted->owner : param_string(create, "owner");
	const char *prefix = create->caller->owner_prefix;

	create->owner = owner ? owner : caller_sees_host(create->caller) || !prefix ? "" : prefix;
	if (caller_sees_owner(create->caller, create->owner))
		return 0;
	call_fail(create->call, E_DENIED, false, &(struct error_details){ .path = "owner" },
		"owner: must start with %s", prefix);
	return -EPERM;
}

int session_make_id(const char *prefix, char id[static NAME_SIZE])
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	uint8_t random[12];
	size_t n = strlen(prefix);

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	memcpy(id, prefix, n);
	for (size_t i = 0; i < sizeof(random); i++)
		id[n + i] = digits[random[i] & 31];
	id[n + sizeof(random)] = '\0';
	return 0;
}

static int choose_id(struct create *create)
{
	const char *id = param_string(create, "id");
	int r = id ? copy_string(create->id, sizeof(create->id), id) : session_make_id("sess-", create->id);

	if (r < 0) {
		call_fail(create->call, E_FAILED, false, &(struct error_details){ .path = "id", .err_no = -r },
			"id: none could be made: %s", strerror(-r));
		return r;
	}
	const struct session *session = session_find(create->lifecycle, create->id);
	if (!session)
		session = session_find_by_host_id(create->lifecycle, create->id);
	/* The one that is replaced makes room for its id. */
	if (!session || (create->wanted && !session_is_live(session) && session->record.place &&
				streq(session->record.place, create->wanted->place)))
		return 0;
	call_fail(create->call, E_ALREADY_EXISTS, false,
		&(struct error_details){ .path = "id", .session = create->id }, "id: there is a session %s%s",
		create->id, session_is_live(session) ? "" : ", which has ended; session.remove forgets it");
	return -EEXIST;
}

static int check_limits(struct create *create)
{
	struct limits asked;

	return limits_of_call(
		create->call, &create->template->limits, create->template->name, &asked, &create->limits);
}

static int check_egress(struct create *create)
{
	const struct template *template = create->template;

	create->egress = param_string(create, "egress");
	if (!create->egress || (template->egress && streq(create->egress, template->egress)))
		return 0;
	for (char **allowed = template->egress_allowed; allowed && *allowed; allowed++)
		if (streq(create->egress, *allowed))
			return 0;
	call_fail(create->call, E_DENIED, false, &(struct error_details){ .path = "egress" },
		"egress: template %s does not allow the policy %.63s", template->name, create->egress);
	return -EPERM;
}

static int check_ttl(struct create *create)
{
	const json_t *ttl = json_object_get(create->params, "ttl_seconds");
	const struct template *template = create->template;

	create->ttl_ns = ttl ? duration_ns(ttl) : template->ttl_ns;
	if (create->ttl_ns <= template->max_ttl_ns)
		return 0;
	call_fail(create->call, E_LIMIT, false, &(struct error_details){ .path = "ttl_seconds" },
		"ttl_seconds: template %s allows at most %llu (max_ttl_seconds)", template->name,
		(unsigned long long)(template->max_ttl_ns / NS_PER_SEC));
	return -EPERM;
}

static int choose_volumes(struct create *create)
{
	const struct volume_request request = {
		.lifecycle = create->lifecycle,
		.call = create->call,
		.params = create->params,
		.template = create->template,
		.owner = create->owner,
		.id = create->id,
	};

	return volumes_choose(&request, &create->volumes);
}

static int check_room(struct create *create)
{
	return admission_check(
		create->lifecycle, &(struct applicant){ .call = create->call,
					   .template = create->template,
					   .owner = create->owner,
					   .place = create->wanted ? create->wanted->place : NULL,
					   .again = create->wanted ? method_session_ensure : method_session_create });
}

/* What cannot be written down is not begun; nor does it pile up in memory until there is room. */
static int check_registry(const struct create *create)
{
	const int error = create->lifecycle->write_error;

	if (error < 0)
		call_fail(create->call, E_FAILED, true,
			&(struct error_details){
				.step = "registry", .err_no = -error, .retry_after_ms = REGISTRY_RETRY_MS },
			"the registry cannot be written: %s", strerror(-error));
	return error;
}

/* The spec of the workload, or a negative errno. */
static int write_spec(struct create *create)
{
	const struct command_request request = {
		.command = json_object_get(create->params, "command"),
		.env = json_object_get(create->params, "env"),
		.secrets = json_object_get(create->params, "secrets"),
	};
	struct err err;
	char text[sizeof(err) + 64];

	int fd = command_workload(lifecycle_config(create->lifecycle), create->template, &request, &err);
	if (fd >= 0)
		return fd;
	struct error_details details = { .step = err.step, .err_no = -fd };
	if (fd == -EINVAL && streq(err.step, "env")) {
		details.path = "env";
		call_fail(create->call, E_INVALID_PARAMS, false, &details, "env: %.64s is no name for a variable",
			err.object);
	} else if (fd == -E2BIG) {
		details.path = "command";
		call_fail(create->call, E_LIMIT, false, &details,
			"command: with its environment it is longer than a session takes (%s)", err.object);
	} else {
		call_fail(create->call, E_FAILED, false, &details, "%s", err_text(&err, text, sizeof(text)));
	}
	return fd;
}

/* ---- making it ---- */

static int copy_optional(const char *s, char **ret)
{
	*ret = s ? strdup(s) : NULL;
	return s && !*ret ? -ENOMEM : 0;
}

static int fill_record(struct create *create, struct record *record)
{
	const struct template *template = create->template;
	const json_t *idle = json_object_get(create->params, "idle_timeout_seconds");
	uint64_t ttl = create->ttl_ns;
	const json_t *labels = json_object_get(create->params, "labels");
	const char *profile = volumes_hostname(template, &create->volumes);
	const char *hostname = profile ? profile : template->constant_hostname;

	record_init(record);
	record->number = ++create->lifecycle->last_number;
	record->uid = create->caller->uid;
	record->created_at_ns = record->last_activity_at_ns = realtime_ns();
	record->created_boot_ns = record->last_activity_boot_ns = boottime_ns();
	record->expires_at_ns = ttl == NEVER ? NEVER : record->created_at_ns + ttl;
	record->expires_boot_ns = ttl == NEVER ? NEVER : record->last_activity_boot_ns + ttl;
	record->idle_ns = idle ? duration_ns(idle) : template->idle_ns;
	record->labels = json_deep_copy(labels);
	record->limits = session_limits_json(&create->limits, 0);
	record->volumes = volumes_json(template, &create->volumes);
	record->key = steal_ptr(&create->key);
	memcpy(record->fingerprint, create->fingerprint, SHA256_SIZE);
	int r = !record->limits || !record->volumes || (labels && !record->labels) ? -ENOMEM : 0;
	if (r == 0)
		r = copy_string(record->id, sizeof(record->id), create->id);
	if (r == 0)
		r = copy_string(record->host_id, sizeof(record->host_id), create->id);
	if (r == 0)
		r = copy_string(record->template, sizeof(record->template), template->name);
	if (r == 0)
		r = copy_string(
			record->hostname, sizeof(record->hostname), hostname && hostname[0] ? hostname : create->id);
	if (r == 0)
		r = copy_string(record->egress, sizeof(record->egress), create->egress ? create->egress : "");
	if (r == 0)
		r = copy_string(record->boot_id, sizeof(record->boot_id), create->lifecycle->control->boot_id);
	if (r == 0)
		r = copy_optional(template->kind ? template->kind : "", &record->kind);
	if (r == 0)
		r = copy_optional(create->owner, &record->owner);
	if (r == 0)
		r = copy_optional(param_string(create, "task_id"), &record->task_id);
	if (r == 0 && create->wanted)
		r = copy_optional(create->wanted->isolation, &record->isolation);
	if (r == 0 && create->wanted)
		r = copy_optional(create->wanted->place, &record->place);
	return r;
}

void session_fill_request(const struct record *record, struct super_create *ret)
{
	msg_init(&ret->header, SUPER_CREATE, 0, sizeof(*ret));
	/* All of one size. */
	memcpy(ret->id, record->host_id, NAME_SIZE);
	memcpy(ret->template, record->template, NAME_SIZE);
	memcpy(ret->hostname, record->hostname, NAME_SIZE);
	memcpy(ret->egress, record->egress, NAME_SIZE);
}

static struct super_create *super_request(const struct create *create, const struct record *record)
{
	struct super_create *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	session_fill_request(record, request);
	request->limits = create->limits;
	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++)
		memcpy(request->volumes[i], create->volumes.at[i].name, NAME_SIZE);
	return request;
}

/* Nothing that it asks for had to be known before the workload began: a pool's session will do. */
static bool is_plain(const struct create *create)
{
	static const char *const parts[] = { "command", "env", "secrets", "limits" };
	const char *policy = create->template->egress;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		const json_t *part = json_object_get(create->params, parts[i]);
		if (json_object_size(part) + json_array_size(part) > 0)
			return false;
	}
	for (size_t i = 0; i < SUPER_MAX_VOLUMES; i++)
		if (create->volumes.at[i].name[0])
			return false;
	return !create->egress || (policy && streq(create->egress, policy));
}

/* Takes over SPEC_FD; or MEMBER, a pool's session, where it is not NULL. */
static void begin(struct create *create, int spec_fd, struct session *member)
{
	struct lifecycle *lifecycle = create->lifecycle;
	_close_ int spec = spec_fd;
	struct record record;

	int r = fill_record(create, &record);
	if (member)
		memcpy(record.host_id, member->record.host_id, sizeof(record.host_id));
	_free_ struct super_create *request = r == 0 ? super_request(create, &record) : NULL;
	if (create->wanted)
		session_leave_place(lifecycle, create->wanted->place);
	struct session *session = request ? session_new(lifecycle, &record) : NULL;
	if (!session) {
		record_clear(&record);
		call_fail(create->call, E_FAILED, true, &(struct error_details){ .err_no = ENOMEM }, "out of memory");
		return;
	}
	if (member) {
		pool_claim(session, member);
	} else if ((r = volumes_hold(session)) == 0) {
		session->create = steal_ptr(&request);
		session->spec_fd = steal_fd(&spec);
		list_append(&lifecycle->launch, &session->of_launch);
	}
	session_emit(session, "session.created", NULL);
	metrics_accepted(session);
	session_changed(session);
	session_arm_deadline(session);
	session_wait(session, create->call, create->wait_for, NEVER,
		create->wanted ? WAITER_CREATED | WAITER_ENSURES : WAITER_CREATED);
	if (r < 0)
		session_failed_to_start(session, "volumes", r, "%s", strerror(-r));
}

void session_create(struct call *call, const struct wanted *wanted)
{
	struct create create = {
		.lifecycle = call_control(call)->lifecycle,
		.call = call,
		.params = call_params(call),
		.caller = call_caller(call),
		.wanted = wanted,
	};
	const char *wait = param_string(&create, "wait");

	create.wait_for = wait && streq(wait, "created") ? WAIT_CREATED : WAIT_READY;
	if (read_key(&create) < 0) {
		call_fail(call, E_FAILED, true, &(struct error_details){ .err_no = ENOMEM }, "out of memory");
	} else if (!answer_again(&create) && check_owner(&create) == 0 &&
		   !(wanted && session_ensure_existing(call, wanted, create.wait_for)) &&
		   check_template(&create) == 0 && choose_id(&create) == 0 && check_limits(&create) == 0 &&
		   check_egress(&create) == 0 && check_ttl(&create) == 0 && check_registry(&create) == 0 &&
		   check_room(&create) == 0 && choose_volumes(&create) == 0) {
		struct session *member = is_plain(&create) ? pool_take(create.lifecycle, create.template) : NULL;
		int spec = member ? -1 : write_spec(&create);
		if (member || spec >= 0)
			begin(&create, spec, member);
	}
	free(create.key);
}

void method_session_create(struct call *call)
{
	session_create(call, NULL);
}
