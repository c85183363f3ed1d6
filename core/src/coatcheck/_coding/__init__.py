"""
Documents to bytes and back: serializers, tags, compression, signatures, encryption.
"""
