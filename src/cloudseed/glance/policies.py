"""Glance's policy rules, under upstream's names with upstream's defaults."""

from __future__ import annotations

from cloudseed.kernel.policy import Rule

_MEMBER = "role:admin or (role:member and project_id:%(project_id)s)"
_READER = "role:admin or (role:reader and project_id:%(project_id)s)"
_SHARED = ("project_id:%(project_id)s or project_id:%(member_id)s or 'community':%(visibility)s or "
           "'public':%(visibility)s or 'shared':%(visibility)s")
_ANY = "role:admin or role:reader"  # what a namespace's visibility hides, the query hides

RULES = [
    Rule("default", "role:admin"),
    Rule("context_is_admin", "role:admin"),
    Rule("add_image", "role:admin or (role:member and project_id:%(project_id)s and project_id:%(owner)s)"),
    Rule("delete_image", _MEMBER),
    Rule("get_image", f"role:admin or role:service or (role:reader and ({_SHARED}))"),
    Rule("get_images", "role:admin or role:service or (role:reader and project_id:%(project_id)s)"),
    Rule("modify_image", _MEMBER),
    Rule("publicize_image", "role:admin"),
    Rule("communitize_image", _MEMBER),
    Rule("download_image", f"role:admin or role:service or (role:member and ({_SHARED}))"),
    Rule("upload_image", _MEMBER),
    Rule("delete_image_location", "role:admin"),
    Rule("get_image_location", _READER),
    Rule("set_image_location", _MEMBER),
    Rule("fetch_image_location", "role:service"),
    Rule("add_member", _MEMBER),
    Rule("delete_member", _MEMBER),
    Rule("get_member", "role:admin or (role:reader and (project_id:%(project_id)s or project_id:%(member_id)s))"),
    Rule("get_members", "role:admin or (role:reader and (project_id:%(project_id)s or project_id:%(member_id)s))"),
    Rule("modify_member", "role:admin or (role:member and project_id:%(member_id)s)"),
    Rule("deactivate", _MEMBER),
    Rule("reactivate", _MEMBER),
    Rule("copy_image", "role:admin"),
    Rule("get_task", "role:reader or role:admin"),
    Rule("get_tasks", "role:reader or role:admin"),
    Rule("add_task", "role:member or role:admin"),
    Rule("tasks_api_access", "role:admin"),
    *(Rule(f"get_metadef_{name}", _ANY) for name in ("namespace", "namespaces", "object", "objects", "property",
                                                     "properties", "tag", "tags", "resource_type")),
    Rule("list_metadef_resource_types", _ANY),
    *(Rule(f"{verb}_metadef_{name}", "rule:metadef_admin")
      for verb in ("add", "modify", "delete") for name in ("namespace", "object", "property", "tag", "tags")),
    Rule("remove_metadef_property", "rule:metadef_admin"),
    Rule("add_metadef_resource_type_association", "rule:metadef_admin"),
    Rule("remove_metadef_resource_type_association", "rule:metadef_admin"),
    Rule("metadef_admin", "role:admin"),
]
