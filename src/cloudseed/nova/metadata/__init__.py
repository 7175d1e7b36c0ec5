"""What guests learn about themselves, at 169.254.169.254 and on their config drives: one content, two ways.

    documents.py   OpenStack's format: meta_data.json, network_data.json, ... by version
    ec2.py         EC2's tree, by version
    tree.py        a path -> what is there; the config drive's files
    vendor_data.py what the cloud's owner tells every guest
    sources.py     which server asks: from the network and the address of the packet, never from what it says
    answers.py     a guest's request -> the answer, beside nova's database
    answer.py      the shapes of both on the bus (topic `nova-metadata`)
    inquiry.py     what the door of a host asks over the bus
    pace.py        how often a guest may ask
    door.py        the unix socket to which the host process brings guests' connections; limits

`documents`, `ec2` and `tree` are pure; nova-compute makes config drives of it, without a database.  Every compute
host has a door, whose name in flows is `nova-metadata-api`.
"""
